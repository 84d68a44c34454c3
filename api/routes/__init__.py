"""One module per noun: what can be asked of it over HTTP."""
