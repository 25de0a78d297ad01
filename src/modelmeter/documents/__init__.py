"""Pages of documents, as sizes in pixels: pictures, PDF files, directories, glob patterns, plain WIDTHxHEIGHT."""

from modelmeter.documents.pages import MAX_PIXELS, MAX_SIDE, Page, PageError
from modelmeter.documents.reader import count_pages, read_pages

__all__ = ["MAX_PIXELS", "MAX_SIDE", "Page", "PageError", "count_pages", "read_pages"]
