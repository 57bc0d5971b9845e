"""The scenarios: what is done to workers and brokers while sessions are played.

Each is a function of a `Scene` whose load runs and whose fleet decides. It injects its faults one after the
other, sees each of them happen, and waits after each until every partition decides again. What comes out of it
is checked afterwards, by `tests.chaos.run.play`.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from kafka import KafkaProducer

from stream.core import cases
from stream.settings import Settings
from stream.shell import stage
from stream.shell.checkpoints import STATE_TOPIC
from tests.chaos.scene import PARTITIONS, SESSION_TIMEOUT_S, Scene, SceneError, Slot
from tests.chaos.verify import Deploy, stored
from tests.chaos.worker import Fault
from tests.worker import COMMAND, Worker, make_anew

RARE = {"judge.revoked", "judge.committed", "judge.recovered"}
"""Points that only a rebalance, a stop or a start passes."""
SENDING = (
    "judge.decided",
    "judge.sent",
    "judge.published",
    "state.begun",
    "state.written",
    "state.sealed",
    "act.decided",
    "act.sent",
    "act.published",
)
ERRORS = (
    "RequestTimedOutError",
    "NotEnoughReplicasError",
    "KafkaConnectionError",
    "NotLeaderForPartitionError",
    "OutOfOrderSequenceNumber",
)
UNREACHABLE_S = 60.0
GIVEN_UP_S = 6.0
"""When the producer gives up in `late_confirmations`, in place of a minute."""
HIGH_RATES = {1: 1_500.0, 3: 750.0}
"""Events a second in `kill_at_load`, by the number of brokers: what two cores hold for brokers, load, watch and two workers
together. A worker with a core to itself judges 2,201 (docs/performance.md); at 1,500 three brokers leave the workers too
little of two cores to catch up in."""
FULL_BATCH = 500
"""The default of ``batch_max``; in `kill_at_load` also the records after which a checkpoint comes early."""


class Scenario(NamedTuple):
    """A fault, and what it needs."""

    name: str
    text: str
    run: Callable[[Scene], None]
    brokers: tuple[int, ...] = (1, 3)
    workers: int = 2
    poisoned: float = 0.02
    release: bool = False
    rates: Mapping[int, float] = MappingProxyType({})
    """Events a second by the number of brokers, where the command's own rate is not meant."""
    checkpoint_records: int = Settings.checkpoint_records


def _turns(scene: Scene, items: Sequence[object], release: bool = True) -> Iterator[object]:
    """`items` in order; a release goes live before the middle one."""
    for n, item in enumerate(items):
        if release and n == len(items) // 2:
            scene.activate()
        yield item


def _trigger(scene: Scene, slot: Slot, point: str, *, running: bool = False) -> Callable[[], None] | None:
    """What brings a rare point about; `running`: the worker must not have been told to end before it gets there."""
    if point == "judge.revoked" or (point == "judge.committed" and running):
        return lambda: scene.fleet.scale(len(scene.fleet.active) + 1)
    if point in RARE:
        return lambda: scene.fleet.terminate(slot) and None
    return None


def kill_at_points(scene: Scene) -> None:
    """SIGKILL at every named point, each at a random pass."""
    _at_points(scene, "kill")


def terminate_at_points(scene: Scene) -> None:
    """SIGTERM at every named point, each at a random pass: the worker drains from there and ends with code 0."""
    _at_points(scene, "terminate")


def _at_points(scene: Scene, action: str) -> None:
    points = [point for point in stage.POINTS for _ in range(max(scene.rounds, 1))]
    n_workers = len(scene.fleet.active)
    for point in _turns(scene, points):
        slot = scene.fleet.active[0]
        nth = (
            1 if point in RARE else scene.rng.randint(1, 3 if str(point).startswith(("state", "act")) else 12)
        )
        trigger = _trigger(scene, slot, str(point), running=action == "terminate")
        scene.at(slot, Fault(str(point), nth, action), trigger)
        if len(scene.fleet.active) != n_workers:
            scene.fleet.scale(n_workers)
        if scene.rounds:  # else at once to the next point, with the lag that there is
            scene.flowing()


def kill_at_random(scene: Scene) -> None:
    """SIGKILL of a random worker at a random moment."""
    for _ in _turns(scene, range(4 * scene.rounds)):
        _spread(scene)
        time.sleep(scene.rng.random() * 2.0)
        slot = scene.rng.choice(scene.fleet.active)
        scene.fleet.kill(slot)
        scene.injected(f"worker {slot.number} killed", action="kill")
        scene.flowing()


def kill_at_load(scene: Scene) -> None:
    """SIGKILL of a random worker at a random moment under high load; what it owned waits in full batches."""
    began, sent = time.monotonic(), scene.load.n_sent
    # Two partitions of four wait, and four events in ten are calls: as many calls as a batch takes events fill one in each.
    enough = FULL_BATCH
    for _ in _turns(scene, range(3 * max(scene.rounds, 1))):
        _spread(scene)
        time.sleep(scene.rng.random() * 2.0)
        slot = scene.rng.choice(scene.fleet.active)
        scene.fleet.kill(slot)
        scene.injected(f"worker {slot.number} killed", action="kill")
        scene.wait(lambda: scene.waiting() >= enough, f"{enough} calls waiting", 30)
        scene.flowing()
    scene.facts["events_per_s"] = round((scene.load.n_sent - sent) / (time.monotonic() - began))


def terminate(scene: Scene) -> None:
    """SIGTERM of a random worker at a random moment."""
    took = []
    for _ in _turns(scene, range(3 * scene.rounds)):
        _spread(scene)
        time.sleep(scene.rng.random() * 2.0)
        slot = scene.rng.choice(scene.fleet.active)
        began = time.monotonic()
        took.append(round(scene.fleet.terminate(slot), 2))
        scene.injected(f"worker {slot.number} stopped in {took[-1]:.1f} s", began, action="terminate")
        scene.flowing()
    scene.facts["stop_s"] = max(took)


def zombie(scene: Scene) -> None:
    """SIGSTOP for longer than the session timeout, at named points; the partitions go to others meanwhile."""
    short = ["act.sent", "judge.sent", "state.written"]
    n_workers = len(scene.fleet.active)
    for point in _turns(scene, list(stage.POINTS) * scene.rounds or short):
        _spread(scene)
        slot = scene.fleet.active[0]
        nth = 1 if point in RARE else scene.rng.randint(1, 3)
        fault = scene.at(
            slot, Fault(str(point), nth, "stop"), _trigger(scene, slot, str(point), running=True)
        )
        assert slot.worker is not None
        worker = slot.worker  # the one that stands still: at some points not the one that was told to
        scene.flowing()  # the others have taken over
        rest = fault.at + 2 * SESSION_TIMEOUT_S - time.monotonic()
        time.sleep(max(rest, 0.0))
        worker.resume()
        scene.injected(f"zombie awake after {time.monotonic() - fault.at:.0f} s", action="resume")
        if len(scene.fleet.active) != n_workers:
            scene.fleet.scale(n_workers)
        scene.flowing()


def scale(scene: Scene) -> None:
    """From one worker to four and back, one by one."""
    for n in _turns(scene, [2, 3, 4, 3, 2, 1] * scene.rounds or [3, 1]):
        began = time.monotonic()
        scene.fleet.scale(int(str(n)))
        scene.injected(f"{n} workers", began, action="scale")
        _spread(scene)
        scene.flowing()


def _spread(scene: Scene) -> None:
    """Wait until every worker has partitions: a fault in one that has none proves nothing."""
    n = min(len(scene.fleet.active), PARTITIONS)
    scene.wait(lambda: _owners(scene) == n, f"partitions spread over {n} workers")


def _owners(scene: Scene) -> int:
    """How many members have partitions in each stage's group."""
    from kafka import KafkaAdminClient
    from kafka.errors import KafkaError

    admin = KafkaAdminClient(**scene.settings.kafka())
    try:
        groups = [f"{scene.settings.prefix}{scene.settings.group}-{stage}" for stage in ("judge", "act")]
        described = admin.describe_groups(groups)
        if any(described[group]["group_state"] != "Stable" for group in groups):
            return 0
        return min(sum(1 for m in described[group]["members"] if m["member_assignment"]) for group in groups)
    except KafkaError:
        return 0
    finally:
        admin.close()


def kill_broker(scene: Scene) -> None:
    """SIGKILL of a broker, started again some seconds later."""
    for _ in _turns(scene, range(2 * scene.rounds)):
        scene.kill_node(scene.rng.choice(scene.cluster.nodes), "broker", 4 + 4 * scene.rng.random())
        scene.flowing()


def kill_leader(scene: Scene) -> None:
    """SIGKILL of the broker that leads a partition: of the input, of the decisions, of the state."""
    bases = [*scene.settings.input_topics, "agent.decisions.v1", STATE_TOPIC]
    for base in _turns(scene, bases[: 1 + 2 * scene.rounds]):
        topic = scene.settings.topic(str(base))
        node = scene.cluster.leader(topic, scene.rng.randrange(PARTITIONS))
        scene.kill_node(node, f"leader of {base}", 6)
        scene.flowing()


def kill_controller(scene: Scene) -> None:
    """SIGKILL of the active controller."""
    for _ in _turns(scene, range(scene.rounds), release=False):
        scene.kill_node(scene.cluster.controller(), "controller", 6)
        scene.flowing()


def lose_majority(scene: Scene) -> None:
    """Two of three brokers killed: nothing can be confirmed until one is back."""
    for _ in range(scene.rounds):
        first, second = scene.rng.sample(scene.cluster.nodes, 2)
        first.kill()
        second.kill()
        scene.injected(f"nodes {first.number} and {second.number} killed", action="kill")
        time.sleep(12)
        first.start()
        second.start()
        scene.whole(150)
        scene.injected("three brokers again", action="start")
        scene.flowing()


def unreachable(scene: Scene) -> None:
    """No broker answers for a minute, connections stay open."""
    for _ in range(scene.rounds):
        for node in scene.cluster.nodes:
            node.pause()
        began = time.monotonic()
        scene.tell(f"every broker paused for {UNREACHABLE_S:.0f} s")
        time.sleep(UNREACHABLE_S)
        for node in scene.cluster.nodes:
            node.resume()
        scene.injected(f"brokers back after {time.monotonic() - began:.0f} s", action="resume")
        scene.whole(150)
        scene.flowing()


def producer_errors(scene: Scene) -> None:
    """The producer reports errors and time-outs at each point where it is used."""
    for n, point in enumerate(_turns(scene, SENDING)):
        slot = scene.fleet.active[0]
        error = ERRORS[n % len(ERRORS)]
        scene.at(slot, Fault(str(point), scene.rng.randint(1, 3), "raise", error=error))
        scene.flowing()


def broker_hangs(scene: Scene) -> None:
    """A broker that leads partitions hangs for longer than it may: requests time out and are sent again."""
    for _ in _turns(scene, range(2 * scene.rounds)):
        topic = scene.settings.topic("agent.decisions.v1")
        node = scene.cluster.leader(topic, scene.rng.randrange(PARTITIONS))
        node.pause()
        scene.injected(f"node {node.number} hangs", action="pause")
        time.sleep(10 + 5 * scene.rng.random())
        node.resume()
        scene.whole(150)
        scene.injected(f"node {node.number} goes on", action="resume")
        scene.flowing()


def late_confirmations(scene: Scene) -> None:
    """Brokers hang for about as long as the producer waits, with much under way: some of it fails, some does not."""
    scene.fleet.environment |= {"CHAOS_REQUEST_TIMEOUT_S": str(GIVEN_UP_S), "DRIFTLINE_BATCH_MAX": "20"}
    for slot in scene.fleet.active:
        scene.fleet.terminate(slot)
    for n in range(2 * max(scene.rounds, 1)):
        slot = scene.fleet.active[0]
        scene.flowing()
        scene.at(slot, Fault("judge.fetched", 2, "slow", seconds=0.25))
        time.sleep(4)  # a backlog is fetched, and judged while no broker answers
        for node in scene.cluster.nodes:
            (node.pause if n % 2 else node.kill)()
        if n % 2:
            time.sleep(GIVEN_UP_S + 0.5 + 2 * scene.rng.random())
        for node in scene.cluster.nodes:
            (node.resume if n % 2 else node.start)()
        scene.cluster.wait()
        scene.disarm(slot)
        scene.injected("brokers back about when the producer gave up", action="resume")
        scene.whole(150)
        scene.flowing()


def full_disk(scene: Scene) -> None:
    """The directory for local state is full; without a signing key, which has to be made there, a clear refusal."""
    with _full(scene.directory / "full") as directory:
        scene.facts["disk"] = "tmpfs" if directory.is_mount() else "not a directory"
        scene.fleet.environment["DRIFTLINE_STATE_DIR"] = str(directory)
        for slot in scene.fleet.active:
            scene.fleet.kill(slot)
            scene.injected(f"worker {slot.number} killed, restarts on a full disk", action="kill")
            scene.flowing()
        log = scene.directory / "keyless.log"
        environment = {
            "DRIFTLINE_STATE_DIR": str(directory),
            "DRIFTLINE_POLICY_PATH": str(scene.settings.policy_path),
        }
        with Worker(scene.settings, log, COMMAND, environment) as keyless:
            code = keyless.process.wait(60)
        told = log.read_text()
        if code == 0 or "development signing key in" not in told or "Traceback" in told:
            raise SceneError(f"a worker that cannot make its key ended with {code}: {told[-600:]}")
        scene.facts["without_key"] = f"exit code {code}, one sentence"
        # On to a sound directory before the full one goes away.
        scene.fleet.environment["DRIFTLINE_STATE_DIR"] = str(scene.settings.state_dir)
        for slot in scene.fleet.active:
            scene.fleet.terminate(slot)
        scene.flowing()


@contextlib.contextmanager
def _full(directory: Path) -> Iterator[Path]:
    """A directory in which nothing can be written: a full tmpfs, or, without the right to mount, no directory."""
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(directory)]
    mounted = shutil.which("mount") is not None and subprocess.run(mount, capture_output=True).returncode == 0
    if not mounted:
        directory.rmdir()
        directory.write_text("no room here")
        yield directory / "state"
        return
    try:
        with contextlib.suppress(OSError), (directory / "filler").open("wb") as sink:
            while True:
                sink.write(b"x" * 4096)
                sink.flush()
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


def lost_local_state(scene: Scene) -> None:
    """The local directory vanishes, under a running worker and between two."""
    for n in _turns(scene, range(2 * scene.rounds)):
        shutil.rmtree(scene.settings.state_dir, ignore_errors=True)
        if n:
            for slot in scene.fleet.active:
                scene.fleet.kill(slot)
        scene.injected("local state removed" + (", workers killed" if n else ""), action="remove")
        scene.flowing()


def lost_state_topic(scene: Scene) -> None:
    """The state topic is lost while the group's commits are not: everything is judged again from the input."""
    start = scene.fleet.restart_all({}, drain=False)
    make_anew(scene.settings, STATE_TOPIC)
    scene.injected("state topic deleted and made anew", action="remove")
    start()
    scene.flowing()


def foreign_state(scene: Scene) -> None:
    """The last owner's state is of a version that this one cannot read: everything is judged again from the input."""
    start = scene.fleet.restart_all({}, drain=True)
    producer = KafkaProducer(**scene.settings.kafka(), acks="all")
    topic, held = scene.settings.topic(STATE_TOPIC), 0
    for number, found in stored(scene.settings).items():
        if found.stale:
            owner = max(found.stale).split(b"/", 1)[0]
            foreign = {"key": owner + b"/0/s/foreign", "value": b"?", "headers": [("format", b"foreign")]}
            producer.send(topic, partition=number, **foreign)
            held += 1
    producer.close()
    scene.injected(f"{held} partitions with state of another version", action="remove")
    start()
    scene.flowing()


def slow_consumer(scene: Scene) -> None:
    """Batches take long, then one takes longer than the session timeout; the lag grows and is worked off."""
    slot = scene.fleet.active[0]
    for seconds, lasts in ((0.4, 10.0), (2 * SESSION_TIMEOUT_S, 3 * SESSION_TIMEOUT_S)):
        scene.at(slot, Fault("judge.fetched", 2, "slow", seconds=seconds))
        time.sleep(lasts)
        scene.disarm(slot)
        scene.injected(f"no longer {seconds:g} s slow for each batch", action="resume")
        scene.flowing()
    scene.at(slot, Fault("act.fetched", 1, "slow", seconds=0.5))
    time.sleep(5)
    scene.disarm(slot)
    scene.flowing()


def poison(scene: Scene) -> None:
    """A seventh of the records break the contract in a dozen ways, while workers are killed."""
    kill_at_random(scene)
    scene.facts["poison"] = scene.load.n_poison


def deploy(scene: Scene) -> None:
    """A new core over the old state, drained first."""
    _deploy(scene, drain=True)


def deploy_by_crash(scene: Scene) -> None:
    """A new core over the old state after a crash: what both judge says so, and the first counts."""
    _deploy(scene, drain=False)


def _deploy(scene: Scene, *, drain: bool) -> None:
    time.sleep(2 + scene.rng.random())
    following = f"{cases.CORE}-next"
    began = time.monotonic()
    start = scene.fleet.restart_all({"CHAOS_CORE": following}, drain=drain)
    time.sleep(1.0)  # what a killed worker had handed to the kernel is in the log by then
    scene.drained = drain
    scene.deploys.append(Deploy(following, {n: found.offset for n, found in stored(scene.settings).items()}))
    start()
    scene.injected(
        f"core {following} {'deployed' if drain else 'started after a crash'}", began, action="deploy"
    )
    scene.flowing()
    scene.activate()
    scene.flowing()


SCENARIOS = (
    Scenario("kill-at-points", "SIGKILL at every named point", kill_at_points, workers=1, release=True),
    Scenario("kill-at-random", "SIGKILL at random moments", kill_at_random, release=True),
    Scenario(
        "kill-at-load",
        "SIGKILL at random moments, a high rate, full batches and early checkpoints",
        kill_at_load,
        poisoned=0.003,
        release=True,
        rates=HIGH_RATES,
        checkpoint_records=FULL_BATCH,
    ),
    Scenario("terminate", "SIGTERM at random moments", terminate, release=True),
    Scenario(
        "terminate-at-points", "SIGTERM at every named point", terminate_at_points, workers=1, release=True
    ),
    Scenario("zombie", "SIGSTOP at every named point for twice the session timeout", zombie, release=True),
    Scenario("scale", "one worker to four and back", scale, workers=1, release=True),
    Scenario("kill-broker", "SIGKILL of a broker", kill_broker, release=True),
    Scenario("kill-leader", "SIGKILL of a partition's leader", kill_leader, brokers=(3,), release=True),
    Scenario("kill-controller", "SIGKILL of the controller", kill_controller, brokers=(3,)),
    Scenario("lose-majority", "two of three brokers killed", lose_majority, brokers=(3,)),
    Scenario("unreachable", "no broker answers for a minute", unreachable),
    Scenario("broker-hangs", "a leader hangs for 10 to 15 s", broker_hangs, brokers=(3,), release=True),
    Scenario(
        "producer-errors", "errors and time-outs of the producer", producer_errors, workers=1, release=True
    ),
    Scenario(
        "late-confirmations",
        "brokers hang about as long as the producer waits",
        late_confirmations,
        workers=1,
    ),
    Scenario("full-disk", "a full disk for local state", full_disk),
    Scenario("lost-local-state", "local state removed", lost_local_state, release=True),
    Scenario("lost-state-topic", "the state topic lost, commits kept", lost_state_topic),
    Scenario("foreign-state", "state of a version that cannot be read, commits kept", foreign_state),
    Scenario("slow-consumer", "slow batches, one above the session timeout", slow_consumer),
    Scenario(
        "poison",
        "a seventh of the input breaks the contract, with SIGKILLs",
        poison,
        poisoned=0.15,
        release=True,
    ),
    Scenario("deploy", "a new core over the old state, drained first", deploy, release=True),
    Scenario("deploy-by-crash", "a new core after a crash", deploy_by_crash, release=True),
)
