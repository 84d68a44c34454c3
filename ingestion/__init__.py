"""What robots and partners report: inbox, polling, uploads, bags, the lake."""
