package org.ppghost.core;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.fail;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import org.junit.Test;

public final class NbHeaderTest {

    static byte[] model(int layout, String version, long topology, int bytes) {
        ByteBuffer file = ByteBuffer.allocate(bytes).order(ByteOrder.LITTLE_ENDIAN);
        file.putShort((short) layout).put(version.getBytes(StandardCharsets.ISO_8859_1));
        file.putLong(18, topology);
        return file.array();
    }

    private static NbHeader parse(byte[] file) throws Problem {
        return NbHeader.parse(file, Math.min(file.length, NbHeader.SIZE), file.length, "m.nb");
    }

    private static void refused(Problem.Code code, byte[] file) {
        try {
            parse(file);
            fail("no " + code);
        } catch (Problem problem) {
            assertEquals(code, problem.code());
        }
    }

    @Test
    public void aGoodHeaderTellsVersionAndTopology() throws Exception {
        // What follows the NUL is whatever lay in the converter's memory.
        NbHeader header = parse(model(2, "v2.13-rc\0#H\u00B6\u00FF\u007F", 100, 500));
        assertEquals("v2.13-rc", header.optVersion());
        assertEquals(100, header.topologyBytes());
    }

    @Test
    public void emptyTruncatedAndForeignFilesAreRefused() {
        refused(Problem.Code.NB_EMPTY, new byte[0]);
        byte[] good = model(2, "v2.13-rc", 100, 500);
        refused(Problem.Code.NB_TRUNCATED, java.util.Arrays.copyOf(good, 20));
        refused(Problem.Code.NB_TRUNCATED, java.util.Arrays.copyOf(good, 125));
        refused(Problem.Code.NB_TRUNCATED, model(2, "v2.13-rc", -1, 500));
        refused(Problem.Code.NB_TRUNCATED, model(2, "v2.13-rc", Long.MAX_VALUE, 500));
        refused(Problem.Code.NB_FOREIGN, "{\"program\": {\"regions\": []}}, and more".getBytes(StandardCharsets.UTF_8));
        refused(Problem.Code.NB_FOREIGN, "PK\003\004 a zip archive, or a part".getBytes(StandardCharsets.UTF_8));
        refused(Problem.Code.NB_FOREIGN, new byte[1000]);
        refused(Problem.Code.NB_FOREIGN, model(2, "version 7", 100, 500));
    }

    @Test
    public void anotherLayoutIsNamed() {
        refused(Problem.Code.NB_LAYOUT, model(1, "v2.0", 100, 500));
        refused(Problem.Code.NB_LAYOUT, model(3, "v3.0", 100, 500));
    }

    @Test
    public void theWholeLengthOfTheVersionMayBeUsed() throws Exception {
        assertEquals("v2.13-rc-1234567", parse(model(2, "v2.13-rc-1234567", 1, 500)).optVersion());
    }

    @Test
    public void anotherVersionIsToldWithBoth() throws Exception {
        NbHeader header = parse(model(2, "v2.12", 100, 500));
        header.checkVersion("v2.12", "m.nb");
        header.checkVersion(null, "m.nb");
        header.checkVersion("develop:33675c5", "m.nb");
        try {
            header.checkVersion("v2.13-rc", "m.nb");
            fail("v2.12 with v2.13-rc");
        } catch (Problem problem) {
            assertEquals("NB_VERSION: m.nb, v2.12, v2.13-rc", problem.getMessage());
        }
    }
}
