"""The replicas that share a computation: how tasks are divided among them, and what is summed over them.

The engine is `tf.distribute`. A Trainer or an Evaluator made within `strategy.scope()` has the strategy's replicas: the
GPUs of a machine in the scope of a MirroredStrategy, those of several processes in a MultiWorkerMirroredStrategy's.
Each holds the whole state, computes its share of the tasks, and takes the same step by the sum over all. Elsewhere
there is one replica, and nothing is divided or summed.

M tasks, R replicas.
"""

import itertools
import json
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from data_generators.errors import UserError

STRATEGIES = ("none", "mirrored", "multi_worker")  # one replica; the GPUs of a machine; several processes

BLOCK = 2**13  # int64 numbers that processes exchange at a time: of one length, so that it is compiled once


class Part(NamedTuple):
    """Those of the M tasks of a meta-batch that are for this process; total is M."""

    tasks: Any
    total: int


class Share(NamedTuple):
    """What a replica has of the M tasks of a meta-batch; total is M.

    first: number of its first task. weight: how much its own mean counts in the mean over all tasks.
    stop: 1 where its process was told to stop, else 0.
    """

    total: int
    first: tf.Tensor
    weight: tf.Tensor
    stop: tf.Tensor


def here():
    """The replicas of the strategy in whose scope this is called."""
    strategy = tf.distribute.get_strategy()
    return Replicas(strategy) if strategy.num_replicas_in_sync > 1 else Alone()


class Alone:
    """The one replica without a strategy, and what a computation asks of its replicas.

    count: R. processes: how many there are. is_chief: whether it is this one that writes.
    told_to_stop: true where this process is told to stop; may be a list that is empty until then. stopping: whether any
        of them was told; after an update it is the same in all of them.
    """

    count, processes, is_chief = 1, 1, True

    def __init__(self):
        self.told_to_stop = False

    @property
    def stopping(self):
        return bool(self.told_to_stop)

    # Training

    def draw(self, sample, num_tasks):
        """The M tasks of a meta-batch that this process needs. sample: slice of them, or None for all -> tasks."""
        return sample(None)

    def compiled(self, update):
        """A function (batch or Part) -> metrics: update(tasks, share=None), compiled, on each replica's share of them.

        share: a Share; None where one replica has all tasks.
        """
        step = tf.function(update)
        return lambda batch: step(tf.nest.map_structure(tf.convert_to_tensor, batch))

    def mean(self, share, metrics, gradients, carried):
        """The means over all M tasks, of those over a replica's share: nests of tensors, within `update`."""
        return metrics, gradients, carried

    def of_all(self, share, values):
        """The values [M] of all tasks, of those of a replica's share, within `update`."""
        return values

    def own(self, share, values, count):
        """Of [M] values the `count` of a replica's share."""
        return values

    # What is not compiled

    def settle_stop(self):
        """Has `stopping` include what was told since the last update."""

    def each(self, function, draws):
        """[function(draw()) for each of draws], in order; every replica takes its turn. Results are float64 arrays."""
        return [function(draw()) for draw in draws]

    def run(self, function, *arguments):
        """function(*arguments) by each replica of this process, within `each`."""
        return function(*arguments)

    def array(self, values):
        """What `run` returned, as an array: those of this process's replicas one after the other."""
        return values.numpy()

    def own_part(self, num_tasks):
        """slice of the M tasks that are this process's."""
        return slice(0, num_tasks)

    def shared(self, num_tasks):
        """(slice of the M tasks that are this process's, function): the function makes of a list that it has of them
        the list of all processes. Values as `exchange` takes them."""
        return slice(0, num_tasks), list

    def over_workers(self, nest):
        """The sum of a nest of numbers over the processes, of one replica each; may stand in a graph, and in a loop."""
        return nest

    def step_all(self, function, *arguments):
        """function(*arguments), which moves variables, by each replica; may stand in a graph, and has no sum in it."""
        function(*arguments)

    def total(self, count):
        """The sum of an integer over the processes."""
        return count

    def exchange(self, value):
        """[what each process calls this with]: values that json has, and NaN."""
        return [value]

    def take_chiefs(self, variables):
        """Sets variables to what they are in the chief, to the last bit."""


class Replicas:
    """The replicas of a strategy, as `Alone` describes them. All processes call the same, in the same order."""

    def __init__(self, strategy):
        self.strategy = strategy
        self.count = strategy.num_replicas_in_sync
        self._own = [int(number) for number in self._local(self._values(np.int64))]
        self.processes = self.count // len(self._own)
        self.is_chief = self._own[0] == 0
        self.told_to_stop = self.stopping = False
        self._sum = tf.function(lambda values: strategy.run(summed, (values,)))

    def _values(self, function):
        """function(number) of each replica of this process, as the strategy takes them."""
        return self.strategy.experimental_distribute_values_from_function(
            lambda context: function(int(context.replica_id_in_sync_group))
        )

    def _local(self, values):
        return self.strategy.experimental_local_results(values)

    def _bounds(self, total):
        """[R + 1]: where each replica's share of M tasks begins; None where there are fewer than replicas.

        All of them then compute all tasks, as they do with the one batch of examples that stands where tasks do.
        """
        return [total * number // self.count for number in range(self.count + 1)] if total >= self.count else None

    # Training

    def draw(self, sample, num_tasks):
        return sample(None) if num_tasks < self.count else Part(sample(self.own_part(num_tasks)), num_tasks)

    def compiled(self, update):
        @tf.function
        def step(total, tasks, *shares):
            def of_replica(tasks, *share):
                return update(tasks, Share(total, *share))

            return self.strategy.run(of_replica, (tasks, *shares))

        def of_all(batch):
            metrics = {name: self._local(value)[0] for name, value in step(*self._shares(batch)).items()}
            self.stopping = self.stopping or bool(metrics.pop("stop") > 0)
            return metrics

        return of_all

    def _shares(self, batch):
        """(M, then of each replica of this process: its tasks, and first, weight and stop of its Share)."""
        tasks, total = batch if isinstance(batch, Part) else (batch, len(tf.nest.flatten(batch)[0]))
        bounds = self._bounds(total)
        begin = bounds[self._own[0]] if isinstance(batch, Part) else 0

        def own(number):
            part = slice(None) if bounds is None else slice(bounds[number] - begin, bounds[number + 1] - begin)
            return tf.nest.map_structure(lambda values: tf.convert_to_tensor(values[part]), tasks)

        def weight(number):
            return 1 / self.count if bounds is None else (bounds[number + 1] - bounds[number]) / total

        return (
            total,
            self._values(own),
            self._values(lambda number: tf.constant(0 if bounds is None else bounds[number])),
            self._values(lambda number: tf.constant(weight(number), tf.float64)),
            self._values(lambda _: tf.constant(float(bool(self.told_to_stop)))),
        )

    def mean(self, share, metrics, gradients, carried):
        """As `Alone.mean`; metrics["stop"] is above 0 where any process was told to stop.

        One sum of one vector, as every message costs as much as a megabyte does; of one for each type of number.
        """
        nest = {**metrics, "stop": tf.cast(share.stop, metrics["loss"].dtype)}, gradients, carried
        tensors = tf.nest.flatten(nest)
        for dtype in dict.fromkeys(t.dtype for t in tensors):
            places = [place for place, t in enumerate(tensors) if t.dtype == dtype]
            vector = tf.concat([tf.reshape(tensors[place], [-1]) for place in places], 0)
            sums = tf.split(
                summed(tf.cast(share.weight, dtype) * vector), [tf.size(tensors[place]) for place in places]
            )
            for place, values in zip(places, sums):
                tensors[place] = tf.reshape(values, tensors[place].shape)
        return tf.nest.pack_sequence_as(nest, tensors)

    def of_all(self, share, values):
        if self._bounds(share.total) is None:
            return values
        numbers = share.first + tf.range(len(values))
        return summed(tf.scatter_nd(numbers[:, None], values, [share.total]))

    def own(self, share, values, count):
        return tf.slice(values, [share.first], [count])

    # What is not compiled

    def settle_stop(self):
        self.stopping = any(self.exchange(bool(self.told_to_stop) or self.stopping))

    def each(self, function, draws):
        results, own, draws, done = [], self._own, iter(draws), 0
        while turn := list(itertools.islice(draws, self.count)):
            numbers = [number for number in own if number < len(turn)]
            if numbers:
                batches = [turn[number]() for number in numbers]
                batches += batches[:1] * (len(own) - len(batches))  # without one of its own a replica repeats another's
                value = batches[0] if len(own) == 1 else self._values(lambda number, b=batches: b[number - own[0]])
                ends = np.cumsum([len(tf.nest.flatten(batch)[0]) for batch in batches])
                parts = np.split(function(value), ends[:-1])
                results += [(done + number, part.tolist()) for number, part in zip(numbers, parts)]
            done += len(turn)
        everyones = dict(pair for of_process in self.exchange(results) for pair in of_process)
        return [np.array(everyones[number]) for number in range(len(everyones))]

    def run(self, function, *arguments):
        return function(*arguments) if len(self._own) == 1 else self.strategy.run(function, arguments)

    def array(self, values):
        return np.concatenate([value.numpy() for value in self._local(values)])

    def own_part(self, num_tasks):
        if (bounds := self._bounds(num_tasks)) is None:
            raise UserError(
                f"{self.count} replicas share {num_tasks} tasks, expected at most as many replicas as tasks"
            )
        return slice(bounds[self._own[0]], bounds[self._own[-1] + 1])

    def shared(self, num_tasks):
        if self._bounds(num_tasks) is None:
            return slice(0, num_tasks), list
        return self.own_part(num_tasks), lambda values: list(itertools.chain(*self.exchange(list(values))))

    def over_workers(self, nest):
        tensors = [tf.convert_to_tensor(value) for value in tf.nest.flatten(nest)]
        dtype = tensors[0].dtype
        vector = tf.concat([tf.reshape(tf.cast(value, dtype), [-1]) for value in tensors], 0)
        sums = tf.split(self.strategy.reduce("SUM", vector, axis=None), [tf.size(value) for value in tensors])
        return tf.nest.pack_sequence_as(nest, [tf.reshape(s, t.shape) for s, t in zip(sums, tensors)])

    def step_all(self, function, *arguments):
        self.strategy.run(function, arguments)

    def total(self, count):
        return int(self._total(np.array([count], np.int64))[0])

    def exchange(self, value):
        if self.processes == 1:
            return [value]
        content = json.dumps(value).encode()
        process = self._own[0] // len(self._own)
        lengths = self._total(np.eye(self.processes, dtype=np.int64)[process] * len(content))
        width = -(-lengths.max() // 8)
        table = np.zeros([self.processes, width], np.int64)
        table[process] = _as_integers(content, width)
        return [json.loads(row.tobytes()[:length]) for row, length in zip(self._total(table), lengths)]

    def take_chiefs(self, variables):
        if self.processes == 1:
            return
        content = b"".join(variable.numpy().tobytes() for variable in variables)
        integers = _as_integers(content, -(-len(content) // 8))
        content, begin = self._total(integers if self.is_chief else np.zeros_like(integers)).tobytes(), 0
        for variable in variables:
            dtype = variable.dtype.as_numpy_dtype
            values = np.frombuffer(content, dtype, int(np.prod(variable.shape)), begin)
            variable.assign(values.reshape(variable.shape))
            begin += values.nbytes

    def _total(self, integers):
        """The sum of int64 arrays over the processes. Exact, so that with zeros it carries any bits."""
        sums = []
        for block in np.pad(integers.reshape(-1), (0, -integers.size % BLOCK)).reshape(-1, BLOCK):
            values = self._values(lambda number, block=block: tf.constant(block * (number == self._own[0])))
            sums.append(self._local(self._sum(values))[0].numpy())
        return np.concatenate(sums)[: integers.size].reshape(integers.shape)


def summed(values):
    """The sum over the replicas, to be called by each of them in the same graph, but not in XLA or a loop."""
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(values))  # which takes no argument as it comes


def _as_integers(content, count):
    """int64 [count]: bytes, and zeros behind them."""
    return np.frombuffer(content.ljust(8 * count, b"\0"), np.int64)
