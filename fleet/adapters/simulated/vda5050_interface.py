"""How a platform is told what a simulated VDA 5050 vehicle's own actions are for."""

from collections.abc import Mapping

MANUFACTURER = "simulated"
BINDINGS: Mapping[str, object] = {
    "wait": {"action": "wait", "parameters": {"duration": "$parameters.duration_s|5.0"}},
    "reading": {
        "action": "takeReading",
        "parameters": {"point": "$station", "quantity": "$parameters.quantity|temperature"},
    },
    "record_bag": {"action": "recordRun", "parameters": {"missionId": "$mission_id"}},
    "action": {
        "*": {
            "action": "perform",
            "parameters": {"name": "$parameters.name|", "duration": "$parameters.duration_s|5.0"},
        }
    },
}


def account_options() -> dict[str, object]:
    """The options of an account of these vehicles."""
    return {"bindings": BINDINGS}
