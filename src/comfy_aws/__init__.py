"""Prompt on AWS: run ComfyUI workflows on Amazon SageMaker as if they had run here."""

__version__ = "0.1.0"
