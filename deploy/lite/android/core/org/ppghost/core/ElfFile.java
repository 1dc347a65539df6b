package org.ppghost.core;

import java.io.File;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** How the segments of a native library are aligned: a phone with 16 KB pages cannot load one made for 4 KB. */
public final class ElfFile {

    private static final int LOAD = 1;

    private ElfFile() {}

    /**
     * Returns the smallest alignment of the file's LOAD segments in bytes; 0 when it is no little endian ELF file.
     *
     * <p>Source: System V ABI, "Program Header".
     *
     * @throws IOException the file cannot be read
     */
    public static long loadAlignment(File file) throws IOException {
        try (RandomAccessFile in = new RandomAccessFile(file, "r")) {
            byte[] bytes = new byte[(int) Math.min(in.length(), 1 << 16)];
            in.readFully(bytes);
            return loadAlignment(bytes);
        }
    }

    static long loadAlignment(byte[] bytes) {
        boolean isElf = bytes.length >= 64 && bytes[0] == 0x7F && bytes[1] == 'E' && bytes[2] == 'L' && bytes[3] == 'F';
        if (!isElf || bytes[5] != 1) {
            return 0;
        }
        ByteBuffer elf = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
        boolean is64 = bytes[4] == 2;
        long table = is64 ? elf.getLong(32) : elf.getInt(28) & 0xFFFFFFFFL;
        int size = elf.getShort(is64 ? 54 : 42) & 0xFFFF;
        int count = elf.getShort(is64 ? 56 : 44) & 0xFFFF;
        int alignAt = is64 ? 48 : 28;
        long smallest = 0;
        for (int i = 0; i < count; i++) {
            long at = table + (long) i * size;
            if (at < 0 || at + alignAt + 8 > bytes.length) {
                return 0;
            }
            if (elf.getInt((int) at) == LOAD) {
                int place = (int) at + alignAt;
                long alignment = is64 ? elf.getLong(place) : elf.getInt(place);
                smallest = smallest == 0 ? alignment : Math.min(smallest, alignment);
            }
        }
        return smallest;
    }
}
