"""Prompts are data: one file a version, rendered here, named in every record. No model's chat format lives here."""

from si_embodied.prompts.template import PromptTemplate, load_prompt, prompt_versions

__all__ = ["PromptTemplate", "load_prompt", "prompt_versions"]
