import re

from setuptools import find_packages, setup

setup(
    name="maml-tf2",
    version=re.search(r'__version__ = "(.+)"', open("maml/__init__.py", encoding="utf-8").read())[1],
    description="MAML (Finn, Abbeel, Levine 2017) in TensorFlow 2, and other few-shot methods on the same tasks",
    author="the maml-tf2 authors",
    license="MIT",
    long_description=open("README.md", encoding="utf-8").read(),
    long_description_content_type="text/markdown",
    python_requires=">=3.10",
    packages=find_packages(include=["maml", "maml.*", "data_generators", "data_generators.*", "rl", "rl.*"]),
    package_data={
        "data_generators": ["*.json"],
        "maml.reports": ["*.html"],
        "data_generators.mini_imagenet_tfds": ["README.md", "CITATIONS.bib", "TAGS.txt"],
    },
    entry_points={"console_scripts": ["maml = maml.cli.__main__:main"]},
    # Lower and upper ends are what this was run with, on Python 3.10 to 3.13.
    install_requires=[
        "absl-py>=2.5,<3",
        "gymnasium>=1.4,<1.5",
        "importlib_resources>=6",  # tensorflow-datasets 4.9.10 imports it without requiring it
        "matplotlib>=3.10,<4",
        "mujoco>=4,<5; python_version >= '3.11'",  # for rl; mujoco.batch is new in 4, which has no Python 3.10
        "numpy>=2.2,<3",
        "pillow>=12,<14",
        "requests>=2.34,<3",
        "tensorboard>=2.21,<3",  # tensorflow 2.21 doesn't bring it
        "tensorflow>=2.21,<2.22",
        "tensorflow-datasets>=4.9.10,<4.10",
        "tqdm>=4.70,<5",
        # What of these goes with Python 3.10, which pip alone searches for minutes.
        "array_record==0.8.1; python_version < '3.11'",
        "etils==1.13.0; python_version < '3.11'",
        "protobuf==6.32.0; python_version < '3.11'",
    ],
    extras_require={
        "test": [
            "dill",  # tensorflow_datasets.testing imports it without requiring it
            "imageio>=2.14",  # gymnasium's own robots import it
            "pytest>=8",
            "pytest-xdist>=3.5",
        ]
    },
)
