"""Stands for onnxruntime, under whose name it is loaded: native code that opens its own file."""

import os
import subprocess
import sys


class InferenceSession:
    """A model's session; the file is read where no hook of this Python hears of it."""

    def __init__(self, path_or_bytes, sess_options=None, providers=None):
        subprocess.run(
            [sys.executable, "-c", f"open({os.fspath(path_or_bytes)!r}).read()"], check=True
        )


sys.modules.setdefault("onnxruntime", sys.modules[__name__])
