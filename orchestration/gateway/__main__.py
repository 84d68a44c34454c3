"""`python -m orchestration.gateway --url wss://…/v1/link --token-file F --journal F`: a gateway, until SIGTERM or SIGINT."""

import argparse
import asyncio
import sys
from pathlib import Path

from fleet.errors import YardmasterError
from fleet.logs import LEVELS, configure_logs
from orchestration.gateway.process import read_token, run


def main() -> None:
    """Exits 0 after a signal, and 2 with one sentence when it cannot start."""
    parser = argparse.ArgumentParser(prog="python -m orchestration.gateway", description="A gateway near the robots.")
    parser.add_argument("--url", required=True, help="the platform's link, such as wss://yard.example/v1/link")
    parser.add_argument("--token-file", required=True, type=Path, help="file with the token of `gateways add`")
    parser.add_argument("--journal", required=True, type=Path, help="file that this gateway remembers in")
    parser.add_argument("--ca", type=Path, help="certificates to trust instead of the system's")
    parser.add_argument("--log-level", choices=list(LEVELS), default="info")
    parser.add_argument("--log-format", choices=["text", "json"], default="text")
    given = parser.parse_args()
    configure_logs(level=given.log_level, form=given.log_format)
    try:
        asyncio.run(run(given.url, read_token(given.token_file), given.journal, ca=given.ca))
    except YardmasterError as error:
        sys.stderr.write(f"The gateway cannot go on: {error.message}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
