"""Prompts are data: one file per version, named in every record and rendered here. Chat formats live in `models`."""

from si_embodied.prompts.template import PromptTemplate, load_prompt, prompt_versions

__all__ = ["PromptTemplate", "load_prompt", "prompt_versions"]
