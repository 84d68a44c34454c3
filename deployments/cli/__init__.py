"""The command `yardmaster`. Nothing heavy is imported before a command runs."""

import sys


def main() -> None:
    """Run the command line; an error of ours is one clear sentence and exit code 2."""
    from deployments.cli.converting import plainly_asked, run_plainly

    if asked := plainly_asked(sys.argv[1:]):
        run_plainly(asked)
    from deployments.cli.app import run

    run()
