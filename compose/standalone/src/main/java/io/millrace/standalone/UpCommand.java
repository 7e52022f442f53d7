package io.millrace.standalone;

import io.millrace.config.ConfigLoader;
import io.millrace.config.ConfigLoader.Loaded;
import io.millrace.standalone.Standalone.Knowledge;
import io.millrace.standalone.cli.DataOption;
import io.millrace.standalone.cli.Terminal;
import io.millrace.standalone.error.UserException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code millrace up}. */
@Command(
        name = "up",
        description = "Start everything and stay in the foreground until Ctrl-C or millrace down.",
        mixinStandardHelpOptions = true)
public final class UpCommand implements Callable<Integer> {
    private static final String OWN_COLLECTION = "best-practices";
    private static final String KNOWLEDGE_COLLECTION = "codebase-context";

    @Mixin
    private DataOption data = new DataOption();

    @Option(
            names = "--port",
            paramLabel = "PORT",
            description = "Port to listen on; 0 takes a free one. Default: 8092.")
    private @Nullable Integer port;

    @Option(
            names = "--knowledge",
            paramLabel = "DIR[:COLLECTION]",
            description =
                    "Folder of Markdown and text to answer from; repeatable. Default collection: codebase-context.")
    private List<String> knowledge = new ArrayList<>();

    @Override
    public Integer call() {
        Map<String, String> flags = new HashMap<>();
        if (port != null) {
            flags.put("listen.port", port.toString());
        }
        Loaded loaded = ConfigLoader.load(data.configFile(), System.getenv(), flags);
        List<String> collections = loaded.config().collections();
        String own = collections.contains(OWN_COLLECTION) ? OWN_COLLECTION : collections.getFirst();
        List<Knowledge> folders = new ArrayList<>();
        // the project's own documents first, so that a newcomer can ask about it
        Standalone.ownDocs().ifPresent(docs -> folders.add(new Knowledge("millrace-docs", docs, own)));
        folders.addAll(
                apart(knowledge.stream().map(each -> folder(each, collections)).toList(), List.copyOf(folders)));
        try (Stop stop = new Stop()) {
            try (Standalone standalone = Standalone.start(loaded, data.folder(), folders, Terminal::line)) {
                System.out.println("millrace ready " + standalone.url());
                stop.await();
            } catch (RuntimeException e) {
                // whatever it broke off was broken off by the signal
                if (!stop.isAsked()) {
                    throw e;
                }
            }
        }
        return 0;
    }

    /**
     * Documents are known by the name of their folder: two that are called alike would write over each other's.
     *
     * @param own keeps its name
     */
    private static List<Knowledge> apart(List<Knowledge> folders, List<Knowledge> own) {
        return folders.stream()
                .map(each -> Stream.concat(folders.stream(), own.stream())
                                        .filter(other -> other.name().equals(each.name()))
                                        .map(Knowledge::folder)
                                        .distinct()
                                        .count()
                                > 1
                        ? new Knowledge(each.folder().toString(), each.folder(), each.collection())
                        : each)
                .toList();
    }

    private static Knowledge folder(String named, List<String> collections) {
        int colon = named.lastIndexOf(':');
        boolean chosen = colon > 0 && !Files.isDirectory(Path.of(named));
        Path folder = Path.of(chosen ? named.substring(0, colon) : named)
                .toAbsolutePath()
                .normalize();
        String collection = chosen ? named.substring(colon + 1) : KNOWLEDGE_COLLECTION;
        if (!Files.isDirectory(folder)) {
            throw new UserException("--knowledge " + named + ": there is no folder " + folder);
        }
        if (!collections.contains(collection)) {
            throw new UserException(
                    "--knowledge " + named + ": there is no collection " + collection + "; there are " + collections);
        }
        Path name = folder.getFileName();
        return new Knowledge(name == null ? folder.toString() : name.toString(), folder, collection);
    }
}
