"""From analyses to a document: Markdown and HTML from the same blocks."""
