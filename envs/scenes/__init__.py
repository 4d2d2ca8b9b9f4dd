"""Scenes as frozen values: drawn from a seed, searched for paths, exported. Nothing here renders."""
