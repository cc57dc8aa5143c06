"""What makes the documentation site: reference pages, the hook of mkdocs, and the reader of pages that are run."""
