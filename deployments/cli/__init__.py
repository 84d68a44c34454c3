"""The command `yardmaster`. Nothing heavy is imported before a command runs."""


def main() -> None:
    """Run the command line; an error of ours is one clear sentence and exit code 2."""
    from deployments.cli.app import run

    run()
