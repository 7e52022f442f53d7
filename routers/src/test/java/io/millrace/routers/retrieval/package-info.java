@NullMarked
package io.millrace.routers.retrieval;

import org.jspecify.annotations.NullMarked;
