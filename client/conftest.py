"""Examples in docstrings are read of what can be imported: Claude's SDK is not everywhere."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("claude_agent_sdk") else ["driftline_client/claude_agent.py"]
