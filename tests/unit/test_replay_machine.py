"""The same world as in `test_replay_schedules`, with hypothesis as the one who decides what happens next:
it looks for the shortest schedule that breaks a promise."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from publisher.channels import Channel
from publisher.payload import Kind
from tests.support.simulation import NAMES, SimNode, World

channels = st.sampled_from(NAMES)
nodes = st.integers(0, 1)
FAULTS = frozenset({"trim", "promote", "wipe", "close"})


class ReplayMachine(RuleBasedStateMachine):
    """Publish, deliver, drop, page, trim, wipe, promote, close; and in the end everything comes to rest."""

    @initialize(seed=st.integers(0, 65_535))
    def begin(self, seed: int) -> None:
        self.world = World(seed, FAULTS)
        self.broke = False

    def node(self, number: int) -> SimNode:
        return self.world.nodes[number]

    @rule(channel=channels)
    def publish(self, channel: Channel) -> None:
        self.world.redis.publish(channel)

    @rule(channel=channels)
    def close(self, channel: Channel) -> None:
        self.world.redis.publish(channel, kind=Kind.END)

    @rule(channel=channels)
    def trim(self, channel: Channel) -> None:
        self.world.redis.trim(channel)
        self.broke = True

    @rule()
    def promote(self) -> None:
        self.world.have_a_break(self.world.redis.promote)
        self.broke = True

    @rule()
    def wipe(self) -> None:
        self.world.have_a_break(self.world.redis.wipe)
        self.broke = True

    @rule()
    def arrive(self) -> None:
        self.world.new_browser()

    @rule()
    def come_back(self) -> None:
        self.world.come_back()

    @rule()
    def leave(self) -> None:
        self.world.leave()

    @rule()
    def start(self) -> None:
        self.world.start_one()

    @rule()
    def receive(self) -> None:
        self.world.receive()

    @rule(number=nodes)
    def cut(self, number: int) -> None:
        self.node(number).link.cut()

    @rule(number=nodes)
    def connect(self, number: int) -> None:
        self.node(number).link.connect()

    @rule(number=nodes)
    def crash(self, number: int) -> None:
        self.world.crash(self.node(number))

    @rule(number=nodes)
    def send(self, number: int) -> None:
        self.node(number).link.send_work()

    @rule(number=nodes)
    def execute(self, number: int) -> None:
        self.node(number).link.execute()

    @rule(number=nodes, most=st.integers(1, 6))
    def ingest(self, number: int, most: int) -> None:
        self.node(number).link.ingest(most)

    @rule(number=nodes)
    def page(self, number: int) -> None:
        self.node(number).log.go_on()

    @rule(number=nodes)
    def advance(self, number: int) -> None:
        self.node(number).hub.work()

    @rule(number=nodes)
    def expire(self, number: int) -> None:
        self.world.now += 1
        self.node(number).hub.expire_idle(self.world.now)

    @rule(steps=st.integers(1, 30))
    def let_it_run(self, steps: int) -> None:
        for _ in range(steps):
            self.world.step(quiet=True)

    @precondition(lambda self: not self.broke)
    @rule()
    def no_gap_without_a_cause(self) -> None:
        assert not any(browser.gaps for browser in self.world.browsers)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.settle()
            self.world.check()


ReplayMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestReplayMachine = ReplayMachine.TestCase
