"""Makes of a program for the RP2040 (ELF) the file that its boot ROM takes (UF2), and says how big it is.

UF2: https://github.com/microsoft/uf2; 256 bytes of flash in every block of 512.
"""

import struct
import sys

FLASH, FLASH_END = 0x10000000, 0x10200000
RAM, RAM_END = 0x20000000, 0x20042000
PAGE = 256
RP2040 = 0xE48BFF56
FAMILY_PRESENT = 0x2000
# The last sector of flash: which network, which broker, whose certificates.
SETTINGS = FLASH_END - 4096
LOAD = 1


def segments(elf):
    """(address in memory, address in flash, bytes, size in memory) of everything that is loaded."""
    assert elf[:7] == b"\x7fELF\x01\x01\x01", "not an ELF file of 32 bits, little endian"
    (start,) = struct.unpack_from("<I", elf, 28)
    size, count = struct.unpack_from("<HH", elf, 42)
    for index in range(count):
        kind, offset, memory, place, in_file, in_memory = struct.unpack_from("<6I", elf, start + index * size)
        if kind == LOAD:
            yield memory, place, elf[offset : offset + in_file], in_memory


def boot_crc(data):
    """CRC-32/MPEG-2, which the boot ROM wants at the end of the first 256 bytes."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc


def main(source, destination):
    with open(source, "rb") as file:
        elf = file.read()
    pages, ram = {}, 0
    for memory, place, data, in_memory in segments(elf):
        if RAM <= memory < RAM_END:
            ram += in_memory
        for address, byte in enumerate(data, place):
            assert FLASH <= address < SETTINGS, f"{address:#x} is outside the flash for programs"
            page = pages.setdefault(address // PAGE * PAGE, bytearray(b"\0" * PAGE))
            page[address % PAGE] = byte
    first = pages[FLASH]
    assert boot_crc(first[:-4]) == struct.unpack("<I", first[-4:])[0], "the boot ROM would not start this"
    with open(destination, "wb") as file:
        for number, (address, page) in enumerate(sorted(pages.items())):
            head = (0x0A324655, 0x9E5D5157, FAMILY_PRESENT, address, PAGE, number, len(pages), RP2040)
            file.write(struct.pack("<8I", *head) + page + bytes(476 - PAGE) + struct.pack("<I", 0x0AB16F30))
    print(f"flash {len(pages) * PAGE / 1024:.0f} of 2044 KiB, RAM {ram / 1024:.0f} of 264 KiB without the stack")
    print(destination)


main(*sys.argv[1:])
