package io.millrace.connect;

import io.millrace.connect.Contents.NotADocumentException;
import java.io.IOException;
import java.net.URI;
import java.net.UnknownHostException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import org.apache.kafka.connect.storage.OffsetStorageReader;
import org.eclipse.jgit.api.Git;
import org.eclipse.jgit.api.TransportCommand;
import org.eclipse.jgit.api.errors.GitAPIException;
import org.eclipse.jgit.errors.MissingObjectException;
import org.eclipse.jgit.lib.Constants;
import org.eclipse.jgit.lib.FileMode;
import org.eclipse.jgit.lib.ObjectId;
import org.eclipse.jgit.lib.ObjectLoader;
import org.eclipse.jgit.lib.ObjectReader;
import org.eclipse.jgit.lib.Ref;
import org.eclipse.jgit.lib.Repository;
import org.eclipse.jgit.revwalk.RevCommit;
import org.eclipse.jgit.revwalk.RevWalk;
import org.eclipse.jgit.storage.file.FileRepositoryBuilder;
import org.eclipse.jgit.transport.RefSpec;
import org.eclipse.jgit.treewalk.EmptyTreeIterator;
import org.eclipse.jgit.treewalk.TreeWalk;
import org.eclipse.jgit.util.FileUtils;
import org.jspecify.annotations.Nullable;

/**
 * Follows a branch of a repository: what changed between the commit that was sent last and the newest one. The files are read from a
 * bare copy in the worker's folder, which is fetched anew when it cannot be read. All is sent again after a commit that is not there any more, after a forced push for one,
 * and when a pass was cut short and the branch has moved since: some of what it sent is in no commit that could be compared.
 */
public final class GitSourceTask extends KnowledgeTask {
    private static final int TIMEOUT_SECONDS = 60;
    private static final String FETCHED = "refs/millrace/";
    /** Instead of a commit: only a list of all documents ends it. */
    private static final String ALL = "all";

    private @Nullable String lastCommit;
    private String lastDefinition = "";
    private boolean remembered;
    private boolean damaged;

    /** The commit of a pass that has not come to its end, here or before a restart, or {@link #ALL}; some of its documents were sent. */
    private @Nullable String unfinished;

    /** What cannot be taken, as far as this process looked at it: told with every pass, although only one looks at it. */
    private final Map<String, String> refused = new TreeMap<>();

    /** What is over {@code max_documents}: the same. */
    private final List<String> beyond = new ArrayList<>();

    private boolean walked;

    @Override
    Scan scan(SourceSettings settings, OffsetStorageReader offsets) throws Scan.ScanException {
        if (!remembered) {
            Map<String, Object> offset = offsets.offset(partition(settings));
            if (offset != null && offset.get("commit") instanceof String commit) {
                lastCommit = commit;
                lastDefinition = String.valueOf(offset.get("definition"));
            }
            if (offset != null && offset.get("unfinished") instanceof String commit) {
                unfinished = commit;
            }
            remembered = true;
        }
        Path folder = Path.of(settings.work(), settings.source() + ".git");
        try {
            if (damaged) {
                FileUtils.delete(folder.toFile(), FileUtils.RECURSIVE | FileUtils.SKIP_MISSING);
                damaged = false;
            }
            Repository repository = open(folder);
            try {
                Head branch = branch(settings);
                fetch(repository, settings, branch);
                return new Pass(settings, repository, branch);
            } catch (RuntimeException | Scan.ScanException | IOException e) {
                repository.close();
                throw e;
            }
        } catch (IOException e) {
            damaged = true;
            throw new Scan.ScanException(
                    "the copy of the repository cannot be read and will be fetched again: " + e.getMessage(), e);
        }
    }

    private static Repository open(Path folder) throws IOException {
        boolean isNew = !Files.exists(folder.resolve("config"));
        Repository repository =
                new FileRepositoryBuilder().setGitDir(folder.toFile()).setBare().build();
        if (isNew) {
            repository.create(true);
        }
        return repository;
    }

    /** The branch that is followed, as it is at the other end. */
    private static Head branch(SourceSettings settings) throws Scan.ScanException {
        try {
            Map<String, Ref> refs = timed(Git.lsRemoteRepository().setRemote(settings.location()))
                    .callAsMap();
            String name = settings.branch().isEmpty() ? Constants.HEAD : Constants.R_HEADS + settings.branch();
            Ref found = refs.get(name);
            ObjectId commit = found == null ? null : found.getObjectId();
            if (found == null || commit == null) {
                throw new Scan.ScanException(
                        settings.branch().isEmpty()
                                ? "the repository has no commit"
                                : "the repository has no branch " + settings.branch());
            }
            return new Head(found.getLeaf().getName(), commit);
        } catch (GitAPIException e) {
            throw new Scan.ScanException(settings.shown() + " cannot be reached: " + reason(e), e);
        }
    }

    private static void fetch(Repository repository, SourceSettings settings, Head branch) throws Scan.ScanException {
        try (Git git = new Git(repository)) {
            if (repository.getObjectDatabase().has(branch.commit())) {
                return;
            }
            timed(git.fetch()
                            .setRemote(settings.location())
                            .setRefSpecs(new RefSpec("+" + branch.name() + ":" + FETCHED + "head")))
                    .call();
        } catch (GitAPIException e) {
            throw new Scan.ScanException(settings.shown() + " cannot be fetched: " + reason(e), e);
        } catch (IOException e) {
            throw new Scan.ScanException("the copy of the repository cannot be written: " + e.getMessage(), e);
        }
    }

    private static <C extends TransportCommand<C, ?>> C timed(C command) {
        return command.setTimeout(TIMEOUT_SECONDS);
    }

    /** JGit tells the cause two or three deep. */
    private static String reason(Throwable error) {
        Throwable cause = error;
        while (cause.getCause() != null) {
            cause = cause.getCause();
        }
        if (cause instanceof UnknownHostException) {
            return cause.getMessage() + " is not known";
        }
        return String.valueOf(cause.getMessage() == null ? cause : cause.getMessage());
    }

    /** A branch and its newest commit. */
    private record Head(String name, ObjectId commit) {}

    /**
     * A file of a commit, or its absence.
     *
     * @param known whether it may be a document already; of a whole branch, the list of all deletes what is none any more
     */
    private record Change(String path, ObjectId blob, boolean known) {}

    /** What the documents of a commit depend on: when it changes, the commit says nothing of what was sent. */
    private static String rules(SourceSettings settings) {
        return settings.definition() + "/" + settings.maxDocuments() + "/" + settings.maxBytes();
    }

    /** What the next process begins with. */
    private Map<String, Object> offset() {
        Map<String, Object> offset = new HashMap<>();
        offset.put("definition", lastDefinition);
        if (lastCommit != null) {
            offset.put("commit", lastCommit);
        }
        if (unfinished != null) {
            offset.put("unfinished", unfinished);
        }
        return offset;
    }

    /** What is known here; the store may lag, and a report would take an unfinished pass back. */
    @Override
    Map<String, Object> mark(SourceSettings known) {
        return remembered ? offset() : super.mark(known);
    }

    private final class Pass implements Scan {
        private final SourceSettings settings;
        private final Repository repository;
        private final ObjectReader reader;
        private final String branch;
        private final RevCommit commit;
        private final Deque<Change> changes = new ArrayDeque<>();
        private final Deque<Step> skips = new ArrayDeque<>();
        private final boolean whole;
        private final Set<String> all = new LinkedHashSet<>();
        private final int found;

        Pass(SourceSettings settings, Repository repository, Head head) throws IOException, ScanException {
            this.settings = settings;
            this.repository = repository;
            this.branch = head.name();
            this.reader = repository.newObjectReader();
            try (RevWalk walk = new RevWalk(reader)) {
                this.commit = walk.parseCommit(head.commit());
                boolean comparable = lastDefinition.equals(rules(settings))
                        && (unfinished == null || unfinished.equals(commit.name()));
                RevCommit before = comparable ? known(walk, lastCommit) : null;
                this.whole = before == null;
                if (before == null) {
                    refused.clear();
                }
                if (!commit.equals(before) || !walked) {
                    compare(before);
                }
            }
            if (whole) {
                // or all would be sent, again with every pass, for a list that cannot be
                manifest(all);
            }
            if (!changes.isEmpty()) {
                unfinished = whole ? ALL : commit.name();
            }
            beyond.forEach(
                    path -> skips.add(new Step.Skipped(path, "more than " + settings.maxDocuments() + " documents")));
            refused.forEach((path, reason) -> skips.add(new Step.Skipped(path, reason)));
            this.found = changes.size();
        }

        private @Nullable RevCommit known(RevWalk walk, @Nullable String name) throws IOException {
            try {
                return name == null ? null : walk.parseCommit(ObjectId.fromString(name));
            } catch (MissingObjectException e) {
                return null;
            }
        }

        /**
         * Tells the documents of two commits apart. Those of a commit are the first {@code max_documents} by path, whatever was sent
         * before: a difference that was cut at a bound would leave out what nobody looks at again. By path and no more, since a
         * rename, which the user's git may be set to find, is a document that goes and one that comes.
         */
        private void compare(@Nullable RevCommit before) throws IOException {
            try (TreeWalk tree = new TreeWalk(repository, reader)) {
                tree.addTree(commit.getTree());
                if (before == null) {
                    tree.addTree(new EmptyTreeIterator());
                } else {
                    tree.addTree(before.getTree());
                }
                tree.setRecursive(true);
                int now = 0;
                int then = 0;
                beyond.clear();
                walked = true;
                while (tree.next()) {
                    String path = tree.getPathString();
                    if (!settings.patterns().take(path)) {
                        continue;
                    }
                    boolean there = isFile(tree.getFileMode(0));
                    boolean is = there && now++ < settings.maxDocuments();
                    boolean was = isFile(tree.getFileMode(1)) && then++ < settings.maxDocuments();
                    if (there && !is) {
                        beyond.add(path);
                    }
                    if (is) {
                        all.add(path);
                    }
                    if (is != was || (is && !tree.idEqual(0, 1))) {
                        boolean known = refused.remove(path) == null && !whole && was;
                        if (is || known) {
                            changes.add(new Change(path, is ? tree.getObjectId(0) : ObjectId.zeroId(), known));
                        }
                    }
                }
            }
        }

        /** Links and submodules have no text. */
        private static boolean isFile(FileMode mode) {
            return FileMode.REGULAR_FILE.equals(mode) || FileMode.EXECUTABLE_FILE.equals(mode);
        }

        @Override
        public Optional<Step> next() throws ScanException {
            if (!skips.isEmpty()) {
                return Optional.of(skips.pop());
            }
            Change change = changes.poll();
            if (change == null) {
                return Optional.empty();
            }
            // the offset stays where it is until the pass is over, or a crash would lose the rest
            Map<String, Object> before = offset();
            if (change.blob().equals(ObjectId.zeroId())) {
                return Optional.of(new Step.Gone(change.path(), partition(settings), before));
            }
            try {
                ObjectLoader blob = reader.open(change.blob(), Constants.OBJ_BLOB);
                if (blob.getSize() > settings.maxBytes()) {
                    return refuse(
                            change,
                            blob.getSize() + " bytes, more than the " + settings.maxBytes() + " of max_bytes",
                            before);
                }
                Map<String, Object> document = Scan.document(settings, change.path());
                document.put("modified_at", commit.getCommitTime() * 1_000L);
                String page = page(change.path());
                if (!page.isEmpty()) {
                    document.put("source_url", page);
                }
                Contents.of(change.path(), blob.getCachedBytes(settings.maxBytes()), document);
                return Optional.of(new Step.Found(change.path(), document, partition(settings), before));
            } catch (NotADocumentException e) {
                return refuse(change, String.valueOf(e.getMessage()), before);
            } catch (IOException e) {
                damaged = true;
                throw new ScanException(change.path() + " cannot be read: " + e.getMessage(), e);
            }
        }

        /** No document, or none any more: an earlier commit may have had one there. */
        private Optional<Step> refuse(Change change, String reason, Map<String, Object> before) {
            String path = change.path();
            refused.put(path, reason);
            Step skipped = new Step.Skipped(path, reason);
            all.remove(path);
            if (!change.known()) {
                return Optional.of(skipped);
            }
            skips.push(skipped);
            return Optional.of(new Step.Gone(path, partition(settings), before));
        }

        /** Where a browser finds a file, on the two hosts whose addresses are well known. */
        private String page(String path) {
            try {
                URI uri = URI.create(settings.shown());
                String host = String.valueOf(uri.getHost());
                String base = settings.shown().replaceAll("\\.git$", "");
                String name = Repository.shortenRefName(branch);
                return switch (host) {
                    case "github.com" -> base + "/blob/" + name + "/" + path;
                    case "gitlab.com" -> base + "/-/blob/" + name + "/" + path;
                    default -> "";
                };
            } catch (IllegalArgumentException e) {
                return "";
            }
        }

        @Override
        public int found() {
            return found;
        }

        @Override
        public Optional<Iterable<String>> everything() {
            return whole ? Optional.of(all) : Optional.empty();
        }

        @Override
        public Map<String, Object> mark() {
            lastCommit = commit.name();
            lastDefinition = rules(settings);
            unfinished = null;
            return offset();
        }

        @Override
        public void close() {
            reader.close();
            repository.close();
        }
    }
}
