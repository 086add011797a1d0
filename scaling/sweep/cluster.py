"""The Ray engine: cells on all machines of a Ray cluster that share the folder of the runs.

Ray says which machines there are and where a process died; what starts next and what is tried again is decided by the
queue, as for the local engine. A machine that does not see the folder of the runs, or has other code than the driver,
is told and left out until it is fit; one that comes later is taken in. Progress is read from the run folders: there is
no other channel that could break.
"""

import os
import socket
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from scaling.code_version import code_version
from scaling.status_file import read_status
from scaling.store_errors import StoreError
from scaling.sweep import node
from scaling.sweep.engine import TICK_SECONDS, Engine
from scaling.sweep.place import Place, Share
from scaling.sweep.queue import Event, Job, Queue

LOOK_SECONDS = 3.0  # between two looks at which machines there are
AGAIN_SECONDS = 60.0  # until a machine that was not fit is asked again
GONE = "{} is gone"
PROBE_SECONDS = 120.0  # the sweep starts without those that have not answered by then


@dataclass
class Machine:
    """reason: why it is not used; probe: the task that finds out, asked at `asked`."""

    host: str
    room: int
    probe: object
    asked: float
    reason: str | None


class Cluster(Engine):
    """workers: cells at the same time at most, on all machines together; None: what they have room for.

    outs: the folders of the runs, absolute. relative: images are read from relative paths.
    """

    def __init__(
        self,
        ray: ModuleType,
        queue: Queue,
        workers: int | None,
        share: Share,
        *,
        outs: Sequence[Path],
        relative: bool,
        show: Callable[[Engine], None],
    ) -> None:
        super().__init__(queue, show)
        self.ray, self.share = ray, share
        self.most = min(len(queue.pending), workers or len(queue.pending))
        name = f"{socket.gethostname()}-{os.getpid()}"
        self.logs = outs[0] / ".workers" / name
        self.tokens = [out / ".workers" / f"{name}-{uuid.uuid4().hex}.token" for out in outs]
        self.driver = node.Driver(code_version(), tuple(map(str, self.tokens)), os.getcwd(), relative)
        self.machines: dict[str, Machine] = {}
        self.looked = float("-inf")
        self.stopping = self.force = False
        self.alone = True  # until the first machine is taken in

    # -- which machines ----------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        for token in self.tokens:
            token.touch()
        self._look()
        probes = [one.probe for one in self.machines.values()]
        self.ray.wait(probes, num_returns=len(probes), timeout=PROBE_SECONDS)
        self._hear_probes()
        self._fill()
        if not self.workers:
            reasons = dict.fromkeys(one.reason for one in self.machines.values() if one.reason)
            nowhere = f"--engine ray: no machine of the cluster has {self.share} for a worker"
            raise StoreError("; ".join(reasons) or nowhere)

    def _look(self) -> None:
        """Asks new machines, and again those that were not fit, whether they are; forgets those that are gone."""
        now = self.looked = time.monotonic()
        alive = {found["NodeID"]: found for found in self.ray.nodes() if found["Alive"]}
        self.machines = {machine: one for machine, one in self.machines.items() if machine in alive}
        for machine, found in alive.items():
            known = self.machines.get(machine)
            if known is None:
                room, host = self.share.places(found["Resources"]), found["NodeManagerHostname"]
                self.machines[machine] = Machine(host, room, self._ask(machine), now, f"{host} has not answered yet")
            elif known.reason and known.probe is None and now - known.asked > AGAIN_SECONDS:
                known.probe, known.asked = self._ask(machine), now

    def _ask(self, machine: str) -> object:
        return self._on(machine, node.unfit, num_cpus=0).remote(self.driver)

    def _hear_probes(self) -> None:
        asked = [one for one in self.machines.values() if one.probe is not None]
        for one in asked:
            if self.ray.wait([one.probe], timeout=0)[0]:
                reason, one.probe = self._fitness(one), None
                self._judge(one, reason)

    def _fitness(self, machine: Machine) -> str | None:
        try:
            return self.ray.get(machine.probe)
        except self.ray.exceptions.RayError as error:
            if self._is_gone(error):
                return GONE.format(machine.host)
            return f"{machine.host} cannot run this project ({_last_line(error)}); install it there as on the driver"

    def _judge(self, machine: Machine, reason: str | None) -> None:
        if reason is not None and reason != machine.reason:
            self.queue.tell(Event("node", None, f"not used: {reason}"))
        machine.reason = reason

    def _fill(self) -> None:
        """Idle places of machines that are gone or unfit go; new ones come, each on the machine that has fewest."""
        fit = {machine: one for machine, one in self.machines.items() if one.reason is None}
        self.workers = [place for place in self.workers if place.job or place.machine in fit]
        while len(self.workers) < self.most:
            taken = {machine: [p.number for p in self.workers if p.machine == machine] for machine in fit}
            roomy = [machine for machine in fit if len(taken[machine]) < fit[machine].room]
            if not roomy:
                break
            machine = min(roomy, key=lambda machine: len(taken[machine]))
            number = min(set(range(fit[machine].room)) - set(taken[machine]))
            self.workers.append(Place(machine=machine, host=fit[machine].host, number=number))
        if self.workers:
            self.alone = False
        elif not self.alone and not self.stopping:
            self.alone = True
            self.queue.tell(Event("node", None, "no machine is left: waiting for one to join the cluster"))

    # -- tasks ---------------------------------------------------------------------------------------------------------

    def _on(self, machine: str, function: Callable, **resources: float):
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = NodeAffinitySchedulingStrategy(machine, soft=False)
        # the queue retries: it knows of locks, budgets and cells that others have finished meanwhile
        return self.ray.remote(max_retries=0, scheduling_strategy=there, **resources)(function)

    def _give(self, place: Place) -> None:
        config = place.job.cell.config
        tree = config.model_dump(mode="json")
        tree["runtime"]["out"] = os.path.abspath(config.runtime.out)
        place.begin(_status(place))
        run = self._on(place.machine, node.run, num_cpus=self.share.cpus, num_gpus=self.share.gpus)
        place.task = run.remote(tree, self.driver, self._log(place))

    def _log(self, place: Place) -> str:
        return f"{self.logs}-{place.host}-{place.machine[:6]}-{place.number}.log"

    def _listen(self) -> None:
        self._cancel()
        running = {place.task: place for place in self.workers if place.job}
        if running:
            ready, _ = self.ray.wait(list(running), timeout=TICK_SECONDS)
            for task in ready:
                self._hear(running[task])
        else:
            time.sleep(TICK_SECONDS)
        for place in self.workers:
            if place.job:
                place.watch(_status(place))
        if time.monotonic() - self.looked > LOOK_SECONDS:
            self._look()
        self._hear_probes()
        self._fill()

    def _hear(self, place: Place) -> None:
        job, place.job = place.job, None
        errors = self.ray.exceptions
        try:
            kind, content = self.ray.get(place.task)
        except errors.RayTaskError as error:
            kind, content = "failed", f"{place.host}: {_last_line(error)}"
        except errors.RayError as error:
            if not self.stopping:
                self._lost(place, job, error)
                return
            kind, content = "interrupted", ""
        if kind == "unfit":
            self.queue.returned(job)
            if (machine := self.machines.get(place.machine)) is not None:
                self._judge(machine, content)
                machine.asked = time.monotonic()
            return
        self.queue.answer(job, kind, content)

    def _lost(self, place: Place, job: Job, error: Exception) -> None:
        """A worker died in the middle, or its machine did, of which Ray's list of machines may say nothing yet."""
        gone = self._is_gone(error)
        if gone and (machine := self.machines.get(place.machine)) is not None:
            machine.reason, machine.asked = GONE.format(place.host), time.monotonic()
        if gone and not place.state:
            self.queue.returned(job)  # it had not begun: no fault of the cell
            return
        why = f"its worker on {place.host} died ({type(error).__name__})"
        if gone:
            why = f"its machine {place.host} ({place.machine[:6]}) is gone"
        elif isinstance(error, self.ray.exceptions.OutOfMemoryError):
            why = f"its worker on {place.host} was killed by Ray: the machine is short of memory"
        self.queue.died(job, f"{why}; what it said last is in {self._log(place)}")

    def _is_gone(self, error: Exception) -> bool:
        errors = self.ray.exceptions
        return isinstance(error, errors.NodeDiedError | errors.TaskUnschedulableError | errors.LocalRayletDiedError)

    # -- the end -------------------------------------------------------------------------------------------------------

    def _stop(self, again: bool) -> None:
        self.stopping, self.force = True, again  # `_cancel` does it: nothing of Ray is called in a signal's handler

    def _cancel(self) -> None:
        """Once stopping, a running task gets a SIGINT, by which it ends after its checkpoint; forced, it is killed."""
        wanted = self.stopping + self.force
        for place in self.workers:
            if place.job and place.cancelled < wanted:
                place.cancelled = wanted
                self.ray.cancel(place.task, force=self.force)

    def _end(self) -> None:
        self.stopping = True
        try:
            while running := {place.task: place for place in self.workers if place.job}:  # after an error in the loop
                self._cancel()
                for task in self.ray.wait(list(running), timeout=TICK_SECONDS)[0]:
                    running[task].job = None
        finally:
            for token in self.tokens:
                token.unlink(missing_ok=True)


def _status(place: Place) -> dict:
    try:
        return read_status(place.job.folder)
    except StoreError:  # whoever opens the run says so
        return {}


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].strip()
