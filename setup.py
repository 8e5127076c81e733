from setuptools import find_packages, setup

setup(
    name="maml-tf2",
    version="1.0.0",
    description="Model-Agnostic Meta-Learning (Finn, Abbeel, Levine 2017) in TensorFlow 2: exact, fast, every result beside the paper's",
    long_description=open("README.md", encoding="utf-8").read(),
    long_description_content_type="text/markdown",
    python_requires=">=3.10",
    packages=find_packages(include=["maml", "maml.*", "data_generators", "data_generators.*", "rl", "rl.*"]),
    package_data={"data_generators": ["*.json"]},
    # Lower bounds and upper bounds are releases this was run with.
    install_requires=[
        "absl-py>=2.1",
        "importlib_resources>=6",  # tensorflow-datasets 4.9.10 imports it without requiring it
        "matplotlib>=3.8",
        "numpy>=1.26",
        "pillow>=10.3",
        "requests>=2.31",
        "tensorboard>=2.16",
        "tensorflow>=2.16,<2.22",
        "tensorflow-datasets>=4.9.6",
        "tqdm>=4.66",
    ],
    extras_require={"test": ["pytest>=8"]},
)
