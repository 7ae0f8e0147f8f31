"""The server inside the SageMaker container: takes jobs, runs them in a headless ComfyUI."""
