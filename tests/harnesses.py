"""AgentDojo and Inspect at work without a model, in the environment of `make harnesses`: ``harnesses.py (agentdojo|inspect) FOLDER``.

Imports nothing of ours: what runs it has none of it.
"""

from __future__ import annotations

import sys
from pathlib import Path


def agentdojo(folder: Path) -> None:
    """Two tasks of a bank's customer as AgentDojo itself would solve them."""
    from agentdojo.agent_pipeline import AgentPipeline, GroundTruthPipeline, InitQuery
    from agentdojo.benchmark import benchmark_suite_without_injections
    from agentdojo.logging import OutputLogger
    from agentdojo.task_suite.load_suites import get_suite

    suite = get_suite("v1.2.1", "banking")
    with OutputLogger(str(folder)):
        for name in ("user_task_0", "user_task_3"):
            pipeline = AgentPipeline([InitQuery(), GroundTruthPipeline(suite.user_tasks[name])])
            pipeline.name = "ground_truth"
            benchmark_suite_without_injections(
                pipeline, suite, folder, False, user_tasks=[name], benchmark_version="v1.2.1"
            )


def inspect(folder: Path) -> None:
    """A sample whose model calls a tool that answers, and then fails, as ``.eval`` and as ``.json``."""
    from inspect_ai import Task, eval
    from inspect_ai.dataset import Sample
    from inspect_ai.model import ModelOutput, ModelUsage, get_model
    from inspect_ai.solver import generate, use_tools
    from inspect_ai.tool import ToolError, tool

    @tool
    def read_note():  # type: ignore[no-untyped-def]
        async def execute(number: int) -> str:
            """Reads a note.

            Args:
                number: Which one.
            """
            if number == 7:
                raise ToolError("there is no note 7")
            return "Note: ring Ann. " * 20

        return execute

    outputs = [
        ModelOutput.for_tool_call("mockllm/model", "read_note", {"number": 1}),
        ModelOutput.for_tool_call("mockllm/model", "read_note", {"number": 7}),
        ModelOutput.from_content("mockllm/model", "Done."),
    ]
    for each in outputs:  # else it counts tokens, and fetches for that
        each.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
    for form in ("eval", "json"):
        task = Task(
            dataset=[Sample(input="Read note 1.", target="Done.")],
            solver=[use_tools(read_note()), generate()],
        )
        model = get_model("mockllm/model", custom_outputs=list(outputs), memoize=False)
        eval(task, model=model, log_dir=str(folder), log_format=form, display="none")


if __name__ == "__main__":
    {"agentdojo": agentdojo, "inspect": inspect}[sys.argv[1]](Path(sys.argv[2]))
