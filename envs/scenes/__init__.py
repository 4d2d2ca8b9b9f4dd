"""Scenes as frozen values: drawing them from a seed, searching them, exporting them. Nothing here renders."""
