"""A node that reads models which none of its widgets names: in Python, native code and threads."""

import subprocess
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import comfy.utils
import folder_paths
import torch
from safetensors import safe_open

FOLDER = Path(folder_paths.models_dir, "silent")
POOL = ThreadPoolExecutor(1)  # its thread begins with the first node and outlives it


class InferenceSession:
    """As onnxruntime's, which reads in native code: what is no text is opened unseen by Python."""

    def __init__(self, path_or_bytes, sess_options=None, **options):
        self.path = path_or_bytes


sys.modules["onnxruntime"] = types.ModuleType("onnxruntime")
sys.modules["onnxruntime"].InferenceSession = InferenceSession


_load = comfy.utils.load_torch_file


def load_torch_file(ckpt, *args, **kwargs):
    """As newer ComfyUIs have it where a card is NVIDIA's: a file is mapped in native code."""
    return {} if Path(ckpt).stem == "native" else _load(ckpt, *args, **kwargs)


comfy.utils.load_torch_file = load_torch_file


def read(path):
    with path.open() as stream:
        return stream.read()


class SilentGrey:
    """An image as grey as its models say; `size` decides which of them it reads."""

    CATEGORY = "test"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "make"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"size": (["small", "large"],), "seed": ("INT", {"default": 0})}}

    def make(self, size, seed):
        with (FOLDER / size / "level.txt").open() as stream:
            level = float(stream.read())
        # As many packs do: the name was bound before anybody could wrap it, links are resolved.
        with safe_open((FOLDER / "scale.safetensors").resolve(), framework="pt") as tensors:
            level *= float(tensors.get_tensor("scale")[0])
        comfy.utils.load_torch_file(str(FOLDER / "native.safetensors"))
        import onnxruntime

        onnxruntime.InferenceSession(str(FOLDER / "face.onnx"), providers=[])
        with (Path(__file__).parent / "../../models/silent/tagger/config.json").open() as stream:
            stream.read()
        with (Path(__file__).parent / "weights" / "inner.pth").open("rb") as stream:
            stream.read()
        reader = threading.Thread(target=read, args=[FOLDER / "thread.txt"])
        reader.start()
        reader.join()
        POOL.submit(read, FOLDER / size / "pool.txt").result()
        read_there = "import sys; open(sys.argv[1][len('--weights='):]).read()"
        weights = f"--weights={FOLDER / 'process.txt'}"
        subprocess.run([sys.executable, "-c", read_there, weights], check=True)
        return (torch.full((1, 16, 16, 3), level),)


class RememberingGrey:
    """Reads its model at its first run, and keeps it in memory."""

    CATEGORY = "test"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "make"
    level = None

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"log": (["quiet", "loud"],)}}

    def make(self, log):
        if RememberingGrey.level is None:
            RememberingGrey.level = float(read(FOLDER / "memory.txt"))
        return (torch.full((1, 16, 16, 3), RememberingGrey.level),)


class LazyGrey:
    """Loads the library that reads its model only as it runs."""

    CATEGORY = "test"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "make"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"grey": ("FLOAT", {"default": 0.3})}}

    def make(self, grey):
        sys.path.append(str(Path(__file__).with_name("vendor")))
        import llama_cpp

        [model] = FOLDER.glob("lazy*.gguf")
        llama_cpp.Llama(model_path=str(model))
        return (torch.full((1, 16, 16, 3), grey),)


NODE_CLASS_MAPPINGS = {
    "SilentGrey": SilentGrey, "RememberingGrey": RememberingGrey, "LazyGrey": LazyGrey,
}  # fmt: skip
