package org.ppghost.demo;

import android.content.Context;
import android.util.Log;
import java.io.BufferedReader;
import java.io.File;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.ppghost.core.Abi;
import org.ppghost.core.Bytes;
import org.ppghost.core.ModelFolder;
import org.ppghost.core.ModelImport;
import org.ppghost.core.ModelSpec;
import org.ppghost.core.OwnModels;
import org.ppghost.core.Problem;

/**
 * The models on the phone: those of the app and those that were imported, each in a folder named by its manifest's
 * digest.
 */
final class ModelStore {

    private static final String TAG = "ppghost";
    private static final String ASSETS = "models";

    private final DemoApp app;
    private final File root;
    private volatile List<Choice> choices = Collections.emptyList();
    private volatile boolean isReady;
    private volatile Problem problem;
    private Listener listener;
    private String news;

    /** Is told on the main thread that there is news. */
    interface Listener {
        void changed();
    }

    /** One converted form of one model. */
    static final class Choice {
        final String id;
        final ModelFolder model;
        final ModelSpec.Variant variant;

        private Choice(String id, ModelFolder model, ModelSpec.Variant variant) {
            this.id = id;
            this.model = model;
            this.variant = variant;
        }

        @Override
        public String toString() {
            return id;
        }
    }

    ModelStore(DemoApp app) {
        this.app = app;
        root = new File(app.getFilesDir(), "models");
    }

    /** Returns the forms that this phone can run, in the order of their names; empty while they are prepared. */
    List<Choice> choices() {
        return choices;
    }

    /** Returns whether the models of the app are in their place. */
    boolean isReady() {
        return isReady;
    }

    /** Returns why a model of the app is missing; null when none is. */
    Problem problem() {
        return problem;
    }

    void listen(Listener heard) {
        listener = heard;
    }

    /** Returns how the last import goes or went, which outlives the screen that began it; null before any. */
    String news() {
        return news;
    }

    /** Keeps what is to be said about an import, and tells the screen; from any thread. */
    void tell(final String sentence) {
        app.show(
                new Runnable() {
                    @Override
                    public void run() {
                        news = sentence;
                        if (listener != null) {
                            listener.changed();
                        }
                    }
                });
    }

    /** Returns the chosen form, or the first one; null when there is none. */
    Choice chosen() {
        String id = app.settings().model();
        for (Choice choice : choices) {
            if (choice.id.equals(id)) {
                return choice;
            }
        }
        return choices.isEmpty() ? null : choices.get(0);
    }

    /** Returns what brings the models of the app into their place and lists all. */
    Runnable preparation() {
        return new Runnable() {
            @Override
            public void run() {
                try {
                    problem = bringAssets();
                } catch (Problem e) {
                    problem = e;
                } catch (IOException e) {
                    problem = new Problem(Problem.Code.IO, String.valueOf(e.getMessage()));
                }
                if (problem != null) {
                    Log.w(TAG, "a model of the app cannot be used", problem);
                }
                list();
                isReady = true;
            }
        };
    }

    /** Imports a zip archive; not on the main thread. */
    ModelFolder importZip(InputStream in) throws Problem {
        return imported(importer().fromZip(in));
    }

    /** Imports the files of a folder; not on the main thread. */
    ModelFolder importFolder(ModelImport.Source source, String name) throws Problem {
        return imported(importer().fromFiles(source, name));
    }

    /** Removes a model with all its forms; a model of the app comes back with its next start. */
    void remove(Choice choice) {
        Bytes.remove(choice.model.folder);
        list();
    }

    /** Returns the version of Paddle Lite in the app for this process; null when there is none. */
    String libraryVersion() {
        try (InputStream in = app.getAssets().open("lite/" + Abi.ofProcess())) {
            String line = new BufferedReader(new InputStreamReader(in, StandardCharsets.UTF_8)).readLine();
            return line == null ? null : line.trim();
        } catch (IOException e) {
            return null;
        }
    }

    private ModelImport importer() {
        return new ModelImport(root, Abi.ofProcess());
    }

    private ModelFolder imported(ModelFolder model) {
        list();
        return model;
    }

    private Problem bringAssets() throws Problem, IOException {
        Map<String, ModelImport.Source> sources = new LinkedHashMap<>();
        String[] names = app.getAssets().list(ASSETS);
        for (String name : names == null ? new String[0] : names) {
            sources.put(name, new AssetSource(app, ASSETS + "/" + name + "/"));
        }
        return new OwnModels(root, importer()).bring(sources);
    }

    private void list() {
        List<Choice> found = new ArrayList<>();
        Set<String> ids = new HashSet<>();
        File[] folders = root.listFiles();
        File[] sorted = folders == null ? new File[0] : folders;
        Arrays.sort(sorted);
        for (File folder : sorted) {
            if (folder.isHidden()) {
                // What an import left behind that was killed; the next one removes it.
                continue;
            }
            try {
                ModelFolder model = ModelFolder.open(folder);
                for (ModelSpec.Variant variant : model.spec.variantsFor(Abi.ofProcess())) {
                    found.add(new Choice(unused(ids, model.spec.name + "/" + variant.form()), model, variant));
                }
            } catch (Problem e) {
                Log.i(TAG, folder.getName() + " is not listed", e);
            }
        }
        choices = Collections.unmodifiableList(found);
    }

    private static String unused(Set<String> ids, String id) {
        String candidate = id;
        for (int i = 2; !ids.add(candidate); i++) {
            candidate = id + "#" + i;
        }
        return candidate;
    }

    /** The files of a model folder that is part of the app. */
    private static final class AssetSource implements ModelImport.Source {
        private final Context context;
        private final String folder;

        AssetSource(Context context, String folder) {
            this.context = context;
            this.folder = folder;
        }

        @Override
        public InputStream open(String name) throws IOException {
            try {
                return context.getAssets().open(folder + name);
            } catch (FileNotFoundException e) {
                return null;
            }
        }
    }
}
