require "net/http"
require "rails"
require "active_record/railtie"
require "action_controller/railtie"

# Active Record reads DATABASE_URL, and `bin/rails server` reads where to listen, BINDING: `make dev-env` has both.
class Shop < Rails::Application
  config.load_defaults Rails::VERSION::STRING.to_f
  config.cache_classes = false
  config.consider_all_requests_local = true
  config.eager_load = false

  # Rails does this itself from version 7 on.
  config.hosts.concat(ENV["RAILS_DEVELOPMENT_HOSTS"].to_s.split(",")) if Rails::VERSION::MAJOR < 7

  # An application of yours has migrations for this.
  config.after_initialize do
    ActiveRecord::Schema.define do
      create_table :products, if_not_exists: true do |t|
        t.string :name, null: false
        t.integer :cents, null: false
      end
    end
    Product.create!([["Tea pot", 3450], ["Two cups", 1600], ["Oolong, 100 g", 1290]].map { |name, cents| { name: name, cents: cents } }) if Product.none?
  end
end
