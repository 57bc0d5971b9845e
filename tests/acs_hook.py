"""A hook of Claude Code and Codex that asks a Guardian of the Agent Control Standard: ``python -m tests.acs_hook``.

What the standard's own adapters do at these hooks, and no more: no degraded modes, no audit, and every failure a denial.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.request
import uuid
from pathlib import Path
from typing import Any

from tests.gate import Agent, is_sealed


def asked(agent: Agent, secret: bytes, step: dict[str, Any]) -> dict[str, Any]:
    """What the Guardian says of a step."""
    request = urllib.request.Request(
        os.environ["ACS_GUARDIAN_URL"], json.dumps(step).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        told = json.load(answer)
    if "result" not in told or not is_sealed(told, agent.id, secret):
        raise ValueError(f"refused: {told.get('error')}")
    return dict(told["result"])


def id_of(event: dict[str, Any]) -> str:
    """The id of a call's request, by which its result is told later: another process does that."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{event['session_id']}:{event['tool_use_id']}"))


def answered(event: dict[str, Any]) -> dict[str, Any]:
    """What the hook's host reads."""
    secret = Path(os.environ["ACS_HMAC_SECRET_FILE"]).read_bytes()
    agent, name = Agent(time.time, event["session_id"], secret), event["hook_event_name"]
    told = {"agent_id": os.environ["ACS_AGENT_ID"], "platform": os.environ["ACS_PLATFORM"]}
    if name == "SessionStart":
        hello = agent.hello()
        asked(agent, secret, agent.step(hello["method"], hello["params"]["payload"], metadata=told))
        asked(agent, secret, agent.step("steps/sessionStart", metadata=told))
    elif name == "UserPromptSubmit":
        said = {"content": [{"type": "text", "value": event["prompt"]}]}
        asked(agent, secret, agent.step("steps/userMessage", said, metadata=told))
    elif name == "PreToolUse":
        call = {"tool": {"name": event["tool_name"]}, "arguments": {n: {"value": v} for n, v in event["tool_input"].items()}}  # fmt: skip
        result = asked(agent, secret, agent.step("steps/toolCallRequest", call, metadata=told, request_id=id_of(event)))  # fmt: skip
        if result["decision"] != "allow":
            return refusal(result["reasoning"])
    elif name == "PostToolUse":
        result = {"tool": {"name": event["tool_name"]}, "exit_status": "success", "outputs": [{"value": event["tool_response"]}]}  # fmt: skip
        asked(agent, secret, agent.step("steps/toolCallResult", {**result, "request_id_ref": id_of(event)}, metadata=told))  # fmt: skip
    return {}


def refusal(why: str) -> dict[str, Any]:
    """A denial of a call, as both hosts read one."""
    told = {"hookEventName": "PreToolUse", "permissionDecision": "deny", "permissionDecisionReason": why}
    return {"hookSpecificOutput": told}


if __name__ == "__main__":
    given = json.load(sys.stdin)
    try:
        sys.stdout.write(json.dumps(answered(given)))
    except Exception as error:
        if given["hook_event_name"] != "PreToolUse":
            raise
        sys.stdout.write(json.dumps(refusal(f"the guardian did not answer ({error})")))
