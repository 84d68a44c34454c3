"""From queries to typed content to files a customer downloads."""
