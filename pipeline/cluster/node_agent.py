"""What a private Ray's node has in place of the agent of Ray's dashboard: it says that there is none, and ends with it.

A raylet waits until its agent has said at which ports it listens, and ends when the agent does. Ray's own agent serves
dashboard, metrics and jobs, of which a private Ray has none, and imports for two seconds before it says so. What is
said here is what Ray's own says where Ray is installed without its dashboard: -1 for each port.

    python -I -S node_agent.py python agent.py --node-id=… --session-dir=… …     # the command of Ray's own behind it

A script that imports neither Ray nor us.
"""

import os
import sys
import time

PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port")
LOOK_EVERY_SECONDS = 1.0


def say_none(session: str, node_id: str) -> None:
    """Write the files in which Ray looks for the ports.

    Args:
        session: Folder of the session.
        node_id: Ray's id of the node, hexadecimal.
    """
    for name in PORTS:
        place = os.path.join(session, f"{name}_{node_id}")
        with open(f"{place}.new", "w", encoding="ascii") as file:
            file.write("-1")
        os.replace(f"{place}.new", place)


def main(arguments: list[str]) -> None:
    """Say it, then wait for the end of the raylet, whose child this is."""
    raylet = os.getppid()
    given = dict(one.removeprefix("--").split("=", 1) for one in arguments if one.startswith("--") and "=" in one)
    say_none(given["session-dir"], given["node-id"])
    while os.getppid() == raylet:
        time.sleep(LOOK_EVERY_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1:])
