"""As llama-cpp-python, which reads in native code."""


class Llama:
    def __init__(self, model_path):
        self.path = model_path
