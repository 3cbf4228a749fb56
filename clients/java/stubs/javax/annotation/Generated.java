package javax.annotation;

/** Stands in for Maven's javax.annotation-api, which only this annotation is needed of. */
public @interface Generated {
  String value();

  String comments();
}
