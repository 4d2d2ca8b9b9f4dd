"""Images and depth in files: one at a time (`files`), and folders of posed RGB-D images (`posed`). Imports the core."""
