"""Few-shot classification of texts by their embeddings: five topics, three sentences of each, then others.

    python examples/text_embeddings.py

Any vectors will do: put your encoder's in place of `embed`, which hashes the words. MAML and prototypical networks
learn the same tasks through the same few lines.
"""

import argparse
import zlib

import numpy as np

import maml
from data_generators.episode import Episode
from maml import methods

SIZE, WAYS, SHOTS, QUERIES = 64, 5, 3, 5
TOPICS, WORDS, LENGTH, COMMON = 200, 10, 16, 40  # made-up topics, words of each, words a sentence, words of all


def embed(sentences):
    """[n, SIZE]: the mean of the words' vectors, each a function of the word."""
    vectors = [
        np.mean([np.random.default_rng(zlib.crc32(w.encode())).standard_normal(SIZE) for w in s.split()], axis=0)
        for s in sentences
    ]
    return np.array(vectors, np.float32)


def sentence(topic, rng):
    """Half its words are of the topic, half of any."""
    own = [f"topic{topic}word{i}" for i in rng.integers(WORDS, size=LENGTH // 2)]
    return " ".join([*own, *(f"word{i}" for i in rng.integers(COMMON, size=LENGTH // 2))])


def sample(seed, num_tasks, topics):
    """An Episode of M tasks: embeddings [M, WAYS·n, SIZE], class by class, and one-hot topics."""
    rng = np.random.default_rng(seed)
    x = np.zeros([num_tasks, WAYS, SHOTS + QUERIES, SIZE], np.float32)
    for task in x:
        for of_class, topic in zip(task, rng.choice(topics, WAYS, replace=False)):
            of_class[:] = embed([sentence(topic, rng) for _ in of_class])
    y = np.broadcast_to(np.eye(WAYS, dtype=np.float32)[:, None], [num_tasks, WAYS, SHOTS + QUERIES, WAYS])

    def flat(array, part):
        return array[:, :, part].reshape(num_tasks, -1, array.shape[-1])

    support, query = slice(0, SHOTS), slice(SHOTS, None)
    return Episode(flat(x, support), flat(y, support), flat(x, query), flat(y, query))


def problem():
    """A hidden layer, for methods that end in classes and for those that compare embeddings."""

    def network(outputs, shape=(SIZE,)):
        return maml.dense_net(*shape, (64,), outputs)

    return maml.Problem((SIZE,), WAYS, network, lambda: network(None), maml.cross_entropy, maml.accuracy)


def main(iterations):
    """{method: accuracy on topics that the training never saw}."""
    train, test = np.arange(TOPICS // 2), np.arange(TOPICS // 2, TOPICS)
    found = {}
    for name, steps, own in (("maml", 3, {"inner_lr": 0.1, "num_updates": 1}), ("prototypical", 0, {})):
        card = methods.get(name)
        method = card.build(card.Settings(**own), problem())
        trainer = maml.Trainer(method.init(seed=1), learning_rate=0.003)
        step = trainer.compile(method, tasks_per_chunk=4, jit=False)
        for i in range(iterations):
            step(sample([1, i], 4, train))
        tasks = (sample([2, i], 1, test) for i in range(50))
        result = maml.Evaluator(method, problem(), jit=False)(trainer.current_weights(), tasks, steps)
        found[name] = float(result.metric[:, -1].mean())
        print(f"{card.title}: {100 * found[name]:.1f} % of new topics' sentences right")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=300)
    main(parser.parse_args().iterations)
