"""The error tree: what can go wrong, and what an operator does about it.

::

    DriftlineError
    ├── ContractError          input breaks the contract           -> quarantine, go on
    │   ├── DecodeError            not UTF-8 JSON
    │   └── SchemaError            JSON of the wrong shape, unknown type or version
    ├── StateError             stored state unreadable             -> rebuild from the input
    ├── ArtefactError          model or release unusable           -> refuse to start, or stop
    │   ├── DigestMismatch         bytes differ from the manifest
    │   └── FeaturesMismatch       trained on another feature list
    ├── DatasetError           recorded data or split unusable     -> stop the training run
    ├── InputError             a file given on the command line    -> exit code 3
    ├── BrokerError            Kafka unreachable or misconfigured  -> exit code 4
    ├── TrackingError          MLflow unreachable, or it refuses   -> log again later
    └── ConfigError            setting or policy missing, wrong    -> refuse to start
"""


def brings(extra: str, *, client: bool = False) -> str:
    """How an extra is installed, with Driftline's client or without: from the folder, since the name is in no registry, and who registered it would be installed.

    >>> brings("mcp")
    "pip install -e '.[mcp]' in Driftline's folder"
    """
    return f"pip install {'./client ' if client else ''}-e '.[{extra}]' in Driftline's folder"


class DriftlineError(Exception):
    """Any failure that Driftline foresees. Operator action: read the message, it names the mend."""


class ContractError(DriftlineError):
    """An input record breaks the contract.

    Operator action: look into the quarantine topic, mend the producer, send the record again with
    ``driftline send --from-quarantine``.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class DecodeError(ContractError):
    """The bytes are not one UTF-8 JSON document. Operator action: as for ContractError."""


class SchemaError(ContractError):
    """The JSON has another shape, type or version. Operator action: as for ContractError."""


class StateError(DriftlineError):
    """A stored state cannot be read by this version.

    Operator action: none; the partition is rebuilt from the input log, from its beginning or from the
    oldest record retained.
    """


class ArtefactError(DriftlineError):
    """A model or release cannot be used. Operator action: reinstall it, or roll back."""


class DigestMismatch(ArtefactError):
    """Bytes differ from the manifest. Operator action: fetch the artefact again; suspect tampering."""


class FeaturesMismatch(ArtefactError):
    """The model was trained on another feature list. Operator action: retrain with this version."""


class DatasetError(DriftlineError):
    """Recorded sessions are missing, unlabelled or a split leaks. Operator action: set DRIFTLINE_DATA."""


class InputError(DriftlineError):
    """A file cannot be read as events, recorded sessions or a log. Operator action: see the line named."""


class BrokerError(DriftlineError):
    """Kafka cannot be reached or is set up wrongly. Operator action: see the address or topic named."""


class TrackingError(DriftlineError):
    """A release is not logged to MLflow. Operator action: mend what is named, and log it again; nothing on the bus waits for it."""


class ConfigError(DriftlineError):
    """A setting or the policy is missing or contradictory. Operator action: mend the line named."""
