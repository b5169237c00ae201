"""Distribution `cetnet`: CTR prediction with CETNet on TensorFlow, TFX, TFMA and TensorFlow Serving."""

from pathlib import Path

from setuptools import setup

OLD, NEW = "python_version < '3.11'", "python_version >= '3.11'"  # the two stacks: TFX 1.16 and TFX 1.21

keras = [  # the model library: neither TFX nor Beam
    f"tensorflow>=2.16.2,<2.17; {OLD}",
    f"tensorflow>=2.21,<2.22; {NEW}",
    f"tf-keras>=2.16,<2.17; {OLD}",
    f"tf-keras>=2.21,<2.22; {NEW}",
    "tensorflow-recommenders>=0.7.7,<0.8",
]
# the clients speak with a server without TensorFlow
client = ["grpcio>=1.60", "protobuf>=3.20.3", "httpx>=0.27"]
serving = [
    *keras,
    *client,
    f"tensorflow-serving-api>=2.16.1,<2.17; {OLD}",
    f"tensorflow-serving-api>=2.19,<2.20; {NEW}",  # as tfx-bsl 1.21 has it
    "grpcio-health-checking>=1.48.2",  # the newest that takes the first stack's protobuf
    "pyarrow>=10",  # the prediction log
    "uvicorn>=0.30",
]
pipeline = [
    *serving,
    f"tfx>=1.16,<1.17; {OLD}",
    f"tfx>=1.21,<1.22; {NEW}",
    "apache-beam>=2.56",
    "jinja2>=3.1",  # the report
    "matplotlib>=3.8",  # its figures
    "tensorboard>=2.16",  # training writes for it, and TensorFlow 2.21 no longer brings it
    "pip",  # recipes fetch data out of packages with it, by hash
    "dill",  # tfx-bsl imports it and no longer gets it from Beam
    "setuptools<81",  # tfx imports pkg_resources; .venv is built with it too
]
gpu = [*keras, f"tensorflow[and-cuda]>=2.16.2,<2.17; {OLD}", f"tensorflow[and-cuda]>=2.21,<2.22; {NEW}"]

setup(
    name="cetnet",
    version="0.1.0",
    description="CTR prediction with a collaborative ensemble, CETNet: Keras models, TFX pipeline, serving",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords="ctr click-through-rate recommender tensorflow tfx keras ensemble",
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    python_requires=">=3.10,<3.14",
    packages=[  # kubeflow itself is a namespace: the SDK of that name has the __init__.py, and ours would overwrite it
        "cetnet_keras",
        "cetnet_keras.cells",
        "cetnet_keras.doctor",
        "cetnet_keras.members",
        "cetnet_keras.spec",
        "cetnet_keras.spec.infer",
        "kubeflow.cetnet",
        "kubeflow.cetnet.rules",
        "pipeline",
        "pipeline.ingest",
        "pipeline.report",
        "serving",
    ],
    package_data={"pipeline.report": ["templates/*"]},
    install_requires=["click>=8.1", "rich>=13", "packaging>=23", "pydantic>=2.7", "PyYAML>=6", "numpy>=1.24"],
    extras_require={
        "keras": keras,
        "serving-client": client,
        "serving": serving,
        "pipeline": pipeline,
        "kubeflow": [*pipeline, "kfp-pipeline-spec>=0.1.16"],
        "gpu": gpu,
        "dev": [
            "pytest>=8",
            "pytest-xdist>=3.6",
            "hypothesis>=6.100",
            "jsonschema>=4.18",
            "kubernetes-validate>=1.29",  # the schemas that the serving manifests are checked against
            "promql-parser>=0.5",  # of the alerts' expressions
            "ruff>=0.6",
            "mypy>=1.10",
            "types-PyYAML",
            "requests>=2.31",  # a stock client of REST, for the tests
            "types-requests",
            "types-protobuf",
            "scikit-learn>=1.3",
        ],
    },
    entry_points={
        "console_scripts": ["cetnet = cetnet_keras.cli:main"],
        "cetnet.commands": [
            "doctor = cetnet_keras.doctor.cli:doctor",
            "spec = cetnet_keras.spec.cli:spec",
            "serve = serving.cli:serve",
            "predict = serving.client_commands:predict",
            "rank = serving.client_commands:rank",
            "run = pipeline.cli:run",
            "evaluate = pipeline.cli:evaluate",
            "report = pipeline.cli:report",
            "demo = pipeline.cli:demo",
            "kubeflow = kubeflow.cetnet.cli:kubeflow",
        ],
    },
)
