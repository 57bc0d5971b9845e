"""Driftline's client: tells what an AI agent does, and waits for what is decided on it.

    from driftline_client import Client, Denied

    with Client("127.0.0.1:9092", tenant="acme", on_silence="deny") as driftline:
        with driftline.session("Pay invoice 17 of ACME.", agent={"id": "payer"}) as session:
            pay = session.tool(pay)
            pay(iban="DE02120300000000202051", amount=40)

Nothing of Driftline's detector is needed, and Kafka's client is loaded when it is first used.
"""

from driftline_client.client import Client
from driftline_client.outcome import Decision, Denied, DriftlineError, Lost, Revoked, Undecided
from driftline_client.posture import ByClass, OnSilence, Posture
from driftline_client.redaction import Redaction, Shown
from driftline_client.session import Call, Session

__all__ = [
    "ByClass",
    "Call",
    "Client",
    "Decision",
    "Denied",
    "DriftlineError",
    "Lost",
    "OnSilence",
    "Posture",
    "Redaction",
    "Revoked",
    "Session",
    "Shown",
    "Undecided",
]
