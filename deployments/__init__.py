"""How it is run: command line, one-machine launcher, demo, migrations."""
