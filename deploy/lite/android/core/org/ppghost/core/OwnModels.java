package org.ppghost.core;

import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;

/**
 * The models that are part of the app: brought into their place, and removed when an update of the app has others.
 *
 * <p>Which folders they have is kept beside these in a hidden file, so that other models, which the
 * user imported, stay.
 */
public final class OwnModels {

    private static final String LIST = ".own";
    private static final long MAX_BYTES = 1L << 20;

    private final File models;
    private final ModelImport importer;

    /** Prepares it for the folder that holds all model folders. */
    public OwnModels(File models, ModelImport importer) {
        this.models = models;
        this.importer = importer;
    }

    /**
     * Brings the models of this version of the app and removes those of another one.
     *
     * @param sources by the names of their folders in the app
     * @return why one of them is missing; null when none is
     * @throws Problem IO when the list cannot be kept
     */
    public Problem bring(Map<String, ModelImport.Source> sources) throws Problem {
        Problem missing = null;
        List<String> places = new ArrayList<>();
        for (Map.Entry<String, ModelImport.Source> entry : sources.entrySet()) {
            try {
                File place = importer.placeOf(entry.getValue());
                if (place == null || !place.isDirectory()) {
                    place = importer.fromFiles(entry.getValue(), entry.getKey()).folder;
                }
                places.add(place.getName());
            } catch (Problem e) {
                missing = e;
            } catch (IOException e) {
                missing = new Problem(Problem.Code.IO, String.valueOf(e.getMessage()));
            }
        }
        for (String old : kept()) {
            if (!places.contains(old)) {
                Bytes.remove(new File(models, old));
            }
        }
        keep(places);
        return missing;
    }

    private List<String> kept() throws Problem {
        File list = new File(models, LIST);
        if (!list.isFile()) {
            return new ArrayList<>();
        }
        String text = new String(Bytes.read(list, MAX_BYTES), StandardCharsets.UTF_8);
        return text.isEmpty() ? new ArrayList<String>() : Arrays.asList(text.split("\n"));
    }

    private void keep(List<String> places) throws Problem {
        StringBuilder text = new StringBuilder();
        for (String place : places) {
            text.append(place).append('\n');
        }
        File list = new File(models, LIST);
        if (places.isEmpty()) {
            Bytes.remove(list);
            return;
        }
        try (OutputStream out = new FileOutputStream(list)) {
            out.write(text.toString().getBytes(StandardCharsets.UTF_8));
        } catch (IOException e) {
            throw new Problem(Problem.Code.IO, String.valueOf(e.getMessage()));
        }
    }
}
