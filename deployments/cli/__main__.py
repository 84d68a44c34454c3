"""`python -m deployments.cli`: the same as the console script `yardmaster`."""

from deployments.cli import main

main()
