package org.ppghost.core;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;

import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.Test;

public final class OrientationTest {

    @Test
    public void jpegFilesAreTurnedAsPillowTurnsThem() throws Exception {
        List<?> cases = Golden.list("orientations");
        for (Object each : cases) {
            Map<?, ?> golden = (Map<?, ?>) each;
            byte[] jpeg = Golden.bytes((String) golden.get("jpeg"));
            int orientation = Orientation.read(jpeg, jpeg.length);
            assertEquals(golden.get("jpeg").toString(), golden.get("orientation"), (long) orientation);
            Picture stored = Golden.picture((String) golden.get("stored"), 6, 4);
            Picture turned = Orientation.apply(stored, orientation);
            boolean swaps = Orientation.swapsSides(orientation);
            Picture expected = Golden.picture((String) golden.get("upright"), swaps ? 4 : 6, swaps ? 6 : 4);
            assertEquals(expected.width, turned.width);
            assertArrayEquals(golden.get("jpeg").toString(), expected.pixels, turned.pixels);
        }
    }

    @Test
    public void damagedFilesAreLeftAsTheyAre() throws Exception {
        Map<?, ?> golden = (Map<?, ?>) Golden.list("orientations").get(5);
        byte[] jpeg = Golden.bytes((String) golden.get("jpeg"));
        Random random = new Random(3);
        for (int i = 0; i < 20000; i++) {
            byte[] damaged = Arrays.copyOf(jpeg, random.nextInt(jpeg.length));
            for (int n = random.nextInt(4); n > 0 && damaged.length > 0; n--) {
                damaged[random.nextInt(Math.min(120, damaged.length))] = (byte) random.nextInt();
            }
            int orientation = Orientation.read(damaged, damaged.length);
            assertEquals(orientation, Math.max(1, Math.min(8, orientation)));
        }
        assertEquals(1, Orientation.read(new byte[0], 0));
    }
}
