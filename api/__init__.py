"""The HTTP layer customers, partners and robots talk to."""
