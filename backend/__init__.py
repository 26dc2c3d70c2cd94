"""The server: pages and API over what is published."""
