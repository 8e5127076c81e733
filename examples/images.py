"""Few-shot image classification: train on characters drawn from fonts, then tell five new ones apart by one image each.

    python examples/images.py

No data are needed. For photographs of your own: maml.train("folder", data_path="my_images").
"""

import argparse

import numpy as np

import maml
from data_generators import sources


def main(iterations, logdir="logs"):
    """The accuracy on the new images."""
    folder = maml.train("glyphs", "prototypical", logdir=logdir, metatrain_iterations=iterations)
    classifier = maml.load_run(folder)

    # One task of five classes that the training never saw, as arrays: what your own images would be.
    task = sources.load("glyphs", num_classes=5).sample(
        "test", seed=3, step=0, num_tasks=1, num_shots=1, num_queries=10
    )
    names = np.array(["alpha", "beta", "gamma", "delta", "epsilon"])
    adapted = classifier.adapt(task.support_x[0], names[task.support_y[0].argmax(-1)])
    found, probabilities = adapted.predict(task.query_x[0], transductive=False)
    right = np.mean(np.array(found) == names[task.query_y[0].argmax(-1)])
    print(f"{len(found)} new images, {100 * right:.0f} % right; sure of the first by {probabilities[0].max():.2f}")
    return right


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=500)
    main(parser.parse_args().iterations)
