package org.ppghost.core;

import static org.junit.Assert.assertEquals;

import java.io.File;
import java.util.Arrays;
import java.util.Random;
import org.junit.Test;

public final class ElfFileTest {

    @Test
    public void theAlignmentIsWhatPythonRead() throws Exception {
        for (Object each : Golden.list("libraries")) {
            java.util.Map<?, ?> golden = (java.util.Map<?, ?>) each;
            File file = new File((String) golden.get("path"));
            assertEquals(file.toString(), golden.get("alignment"), (Long) ElfFile.loadAlignment(file));
        }
    }

    @Test
    public void whatIsNoLibraryHasNoAlignment() throws Exception {
        assertEquals(0, ElfFile.loadAlignment(new byte[10]));
        assertEquals(0, ElfFile.loadAlignment(new byte[1000]));
        byte[] elf = new byte[512];
        System.arraycopy(new byte[] {0x7F, 'E', 'L', 'F', 2, 1}, 0, elf, 0, 6);
        Random random = new Random(5);
        for (int i = 0; i < 5000; i++) {
            byte[] damaged = Arrays.copyOf(elf, elf.length);
            for (int n = 0; n < 8; n++) {
                damaged[6 + random.nextInt(60)] = (byte) random.nextInt();
            }
            // Any number will do, but no exception: the file is somebody else's.
            ElfFile.loadAlignment(damaged);
        }
    }
}
