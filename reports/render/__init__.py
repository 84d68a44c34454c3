"""From typed content to the files a customer downloads."""
