"""The media type of a file by its name, the same on every machine.

Python's `mimetypes` reads the system's files and changes between versions; a view folded from the
log must not depend on either, so the table is ours and fixed. It only grows.
"""

from __future__ import annotations

from typing import Final

UNKNOWN: Final = "application/octet-stream"

_TABLE: Final = """
application/epub+zip epub
application/gzip gz tgz
application/java-archive jar
application/json json
application/msword doc dot
application/ogg ogx
application/pdf pdf
application/postscript ps eps ai
application/rtf rtf
application/sql sql
application/toml toml
application/vnd.android.package-archive apk
application/vnd.debian.binary-package deb
application/vnd.ms-excel xls xlt
application/vnd.ms-outlook msg
application/vnd.ms-powerpoint ppt pps
application/vnd.oasis.opendocument.graphics odg
application/vnd.oasis.opendocument.presentation odp
application/vnd.oasis.opendocument.spreadsheet ods
application/vnd.oasis.opendocument.text odt
application/vnd.openxmlformats-officedocument.presentationml.presentation pptx
application/vnd.openxmlformats-officedocument.spreadsheetml.sheet xlsx
application/vnd.openxmlformats-officedocument.wordprocessingml.document docx
application/vnd.rar rar
application/vnd.sqlite3 sqlite sqlite3 db
application/wasm wasm
application/x-7z-compressed 7z
application/x-apple-diskimage dmg
application/x-bzip2 bz2
application/x-iso9660-image iso
application/x-rpm rpm
application/x-sh sh bash zsh
application/x-subrip srt
application/x-tar tar
application/x-tex tex
application/x-xz xz
application/xml xml xsd xsl
application/yaml yaml yml
application/zip zip
application/zstd zst
audio/aac aac
audio/flac flac
audio/midi mid midi
audio/mp4 m4a m4b
audio/mpeg mp3
audio/ogg ogg oga opus
audio/wav wav
audio/x-aiff aif aiff
audio/x-ms-wma wma
font/otf otf
font/ttf ttf
font/woff woff
font/woff2 woff2
image/avif avif
image/bmp bmp
image/gif gif
image/heic heic
image/heif heif
image/jpeg jpg jpeg jpe
image/jxl jxl
image/png png
image/svg+xml svg
image/tiff tif tiff
image/vnd.adobe.photoshop psd
image/vnd.microsoft.icon ico
image/webp webp
image/x-adobe-dng dng
image/x-canon-cr2 cr2
image/x-canon-cr3 cr3
image/x-nikon-nef nef
image/x-sony-arw arw
image/x-xcf xcf
message/rfc822 eml
application/mbox mbox
text/calendar ics
text/css css
text/csv csv
text/html html htm
text/javascript js mjs
text/markdown md markdown
text/plain txt text log ini cfg conf
text/tab-separated-values tsv
text/vcard vcf
text/vtt vtt
text/x-c c h
text/x-c++ cc cpp cxx hpp
text/x-diff diff patch
text/x-go go
text/x-java java
text/x-python py
text/x-rust rs
text/x-typescript ts tsx
video/mp2t mts m2ts
video/mp4 mp4 m4v
video/mpeg mpg mpeg
video/ogg ogv
video/quicktime mov
video/webm webm
video/x-flv flv
video/x-matroska mkv
video/x-ms-wmv wmv
video/x-msvideo avi
video/3gpp 3gp
"""

_BY_SUFFIX: Final = {
    suffix: line.split()[0] for line in _TABLE.strip().splitlines() for suffix in line.split()[1:]
}


def of_name(name: str) -> str:
    """The media type that the name's last suffix stands for; `UNKNOWN` when none is known."""
    return _BY_SUFFIX.get(name.rpartition(".")[2].lower(), UNKNOWN) if "." in name else UNKNOWN
